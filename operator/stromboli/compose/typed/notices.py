"""What is accepted without effect: a sentence for each reason, with the keys."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import get_args

from stromboli.compose.typed.base import Ignored, Loc, Strict
from stromboli.compose.typed.places import Places

_SHOWN = 20  # keys in one sentence


def notices(whole: Strict, places: Places) -> tuple[str, ...]:
    """The sentences, in the order of the first key of each."""
    found: dict[str, list[Loc]] = {}
    for loc, why in _ignored(whole, ()):
        found.setdefault(why, []).append(loc)
    return tuple(f"accepted without effect: {_some(locs, places)} ({why})" for why, locs in found.items())


def _some(locs: Sequence[Loc], places: Places) -> str:
    """The keys, as part of a sentence: the first of many."""
    shown = ", ".join(dict.fromkeys(places.at(*loc) for loc in locs[:_SHOWN]))
    return f"{shown} and {len(locs) - _SHOWN} more" if len(locs) > _SHOWN else shown


def _ignored(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """The keys without effect that are given, each with the reason."""
    if isinstance(value, Strict):
        given = value.model_fields_set
        for key, why in _reasons(type(value)).items():
            if key not in given:
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
    """Why a key of the model has no effect; None if it has one, but keys inside it may not. Others are left out."""
    reasons = {
        key: next((each.why for each in field.metadata if isinstance(each, Ignored)), None)
        for key, field in model.model_fields.items()
    }
    return {key: why for key, why in reasons.items() if why or _has_models(model.model_fields[key].annotation)}


def _has_models(annotation: object) -> bool:
    """Whether such values are models, or have some in them."""
    is_one = isinstance(annotation, type) and issubclass(annotation, Strict)
    return is_one or any(map(_has_models, get_args(annotation)))
