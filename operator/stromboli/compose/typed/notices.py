"""What is accepted without effect: a sentence for each reason, with the keys."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from stromboli.compose.typed.base import Ignored, Loc, Strict
from stromboli.compose.typed.places import Places

_SHOWN = 20  # keys in one sentence


def notices(whole: Strict, places: Places) -> tuple[str, ...]:
    """The sentences, in the order of the first key of each."""
    found: dict[str, list[str]] = {}
    for loc, why in _ignored(whole, ()):
        found.setdefault(why, []).append(places.at(*loc))
    return tuple(f"accepted without effect: {some(keys)} ({why})" for why, keys in found.items())


def some(keys: Sequence[str]) -> str:
    """The keys, as part of a sentence: the first of many."""
    shown = ", ".join(dict.fromkeys(keys[:_SHOWN]))
    return f"{shown} and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else shown


def _ignored(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """The keys without effect that are given, each with the reason."""
    if isinstance(value, Strict):
        for key, why in _reasons(type(value)).items():
            if key not in value.model_fields_set:
                continue
            if why is not None:
                yield (*loc, key), why
            else:
                yield from _ignored(getattr(value, key), (*loc, key))
    elif isinstance(value, dict | list):
        for part, one in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(one, Strict):
                return
            yield from _ignored(one, (*loc, part))


@functools.cache
def _reasons(model: type[Strict]) -> dict[str, str | None]:
    """Why each key has no effect; None if it has one."""
    return {
        key: next((each.why for each in field.metadata if isinstance(each, Ignored)), None)
        for key, field in model.model_fields.items()
    }
