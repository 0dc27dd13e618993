"""What the models of compose files share: unknown keys are refused, and nothing is coerced.

Each field has what happens with its key, for the table of keys and for notices: `Obeyed`, `Ignored` or `Replaced`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from stromboli.compose.problem import quoted

Loc = tuple[str | int, ...]

_SHOWN = 15  # keys in a message
MAPPING = "has to be a mapping of keys to values"


class Wrong(ValueError):
    """What is wrong with a key below the value that is being validated. `what` continues "KEY: "."""

    def __init__(self, loc: Loc, what: str) -> None:
        super().__init__(what)
        self.loc, self.what = loc, what


@dataclass(frozen=True, slots=True)
class Obeyed:
    """The key has the effect that it has in Compose, apart from what `remark` says."""

    remark: str = ""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The key is obeyed, but in the service in which the agent runs, the operator has its own value."""

    remark: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The key is accepted and has no effect; `why` says why not."""

    why: str


Effect = Obeyed | Replaced | Ignored


class Strict(BaseModel):
    """Base of all models. `refused` are keys of Compose that are not supported, each with what to do about it.

    `written`: files have its keys; otherwise there is only a short form.

    Keys without a value are refused, as in Compose, but for the `nullable` ones, which count as left out. So do the
    `emptiable` ones with an empty text, mostly because a variable is empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    written: ClassVar[bool] = True
    refused: ClassVar[Mapping[str, str]] = {}
    nullable: ClassVar[frozenset[str]] = frozenset()
    emptiable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError(MAPPING if given is not None else f"is empty: it {MAPPING}")
        known = _keys(cls)
        for key, value in given.items():
            if key not in known:
                if key in cls.refused:
                    raise Wrong((key, *_first(value)), f"is not supported: {cls.refused[key]}")
                raise Wrong((key,), _unknown(key, tuple(cls.model_fields)))
            if value is None and key not in cls.nullable:
                raise Wrong((key,), "is empty; give it a value, or take the key out")
        return {
            key: value
            for key, value in given.items()
            if value is not None and not (value == "" and key in cls.emptiable)
        }


@functools.cache
def _keys(model: type[Strict]) -> frozenset[str]:
    """The keys of the model. `model_fields` takes longer."""
    return frozenset(model.model_fields)


def _first(value: object) -> Loc:
    """The place of the first scalar in it: what is refused as a whole is shown by its first part."""
    loc: Loc = ()
    while value and isinstance(value, dict | list):
        parts: Iterable[tuple[str | int, object]] = value.items() if isinstance(value, dict) else enumerate(value)
        at, value = next(iter(parts))
        loc = (*loc, at)
    return loc


def _unknown(key: str, known: tuple[str, ...]) -> str:
    alike = difflib.get_close_matches(key[:64], known, n=1, cutoff=0.75)
    if alike:
        return f'"{quoted(key)}" is not a key that is supported here; did you mean {alike[0]}?'
    which = f"are {', '.join(known)}" if len(known) <= _SHOWN else "are in docs/compose.md"
    return f'"{quoted(key)}" is not a key that is supported here; those that are supported {which}'
