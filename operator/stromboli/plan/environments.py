"""Whether a run's environment is the one that its session has. Pure.

What the file says may change from run to run, but not where it is, nor what it is completed with. A run may leave out
any part that the session has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stromboli.errors import InvalidInput
from stromboli.grammar import reference
from stromboli.models.environment import Environment


def difference(stated: Environment, fixed: Environment, session: str) -> tuple[str, str] | None:
    """The first field of the run's environment that differs, and how; None if none does."""
    return next(_differences(stated, fixed, f"the session {session} has"), None)


def _differences(stated: Environment, fixed: Environment, has: str) -> Iterator[tuple[str, str]]:
    source = stated.given[0] if stated.given else None
    match source:
        case "path" | "paths":
            if stated.files != fixed.files:
                yield source, f"is {_list(stated.files)}, and {has} {_list(fixed.files)}"
        case "inline":
            if stated.inline != fixed.inline:
                yield source, f"is not the text that {has}"
        case "configMapKeyRef":
            if stated.config_map_key_ref != fixed.config_map_key_ref:
                yield source, f"is {_key(stated)}, and {has} {_key(fixed)}"
    if stated.service is not None and stated.service != fixed.service:
        yield "service", f"is {stated.service}, and {has} {fixed.service or 'none'}"
    if stated.profiles is not None and set(stated.profiles) != set(fixed.profiles or ()):
        yield "profiles", f"is {_list(stated.profiles)}, and {has} {_list(fixed.profiles)}"
    if stated.env is not None and (names := _unequal(stated.variables, fixed.variables, str)):
        yield "env", f"{', '.join(names)}: differs from what {has}"
    if stated.images is not None and (names := _unequal(stated.images, fixed.images or {}, _canonical)):
        yield "images", f"{', '.join(names)}: differs from what {has}"


def _list(texts: Sequence[str] | None) -> str:
    return ", ".join(texts or ()) or "none"


def _key(environment: Environment) -> str:
    found = environment.config_map_key_ref
    return "none" if found is None else f"{found.name}/{found.key}"


def _unequal(one: Mapping[str, str], other: Mapping[str, str], meaning: Callable[[str], Any]) -> list[str]:
    """The names whose values differ, or that only one of them has."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or meaning(one[name]) != meaning(other[name])
    )


def _canonical(image: str) -> str:
    try:
        return str(reference.parse(image))
    except InvalidInput:
        return image
