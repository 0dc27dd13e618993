"""What is accepted without effect: a sentence for each reason, with the keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
        for key, field in type(value).model_fields.items():
            if key not in value.model_fields_set:
                continue
            why = next((each.why for each in field.metadata if isinstance(each, Ignored)), None)
            if why is not None:
                yield (*loc, key), why
            else:
                yield from _ignored(getattr(value, key), (*loc, key))
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _ignored(one, (*loc, name))
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from _ignored(one, (*loc, n))
