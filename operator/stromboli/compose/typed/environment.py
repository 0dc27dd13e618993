"""The variables of a service's container: from its env files, then from `environment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.compose import dotenv
from stromboli.compose.dotenv import either
from stromboli.compose.files import Files
from stromboli.compose.forms.path import clean
from stromboli.compose.problem import quoted
from stromboli.compose.typed.base import Loc
from stromboli.compose.typed.places import Places
from stromboli.compose.typed.service import EnvFile, Service
from stromboli.errors import ComposeProblem, Unreadable

MOST_BYTES = 4 * 1024 * 1024
"""Of all env files together, each counted for every service that has it."""

_LEAST = 1024  # bytes that each counts for: there may be many of them


@dataclass(slots=True)
class EnvFiles:
    """The env files of one stack: `left` are the bytes that may still be read."""

    files: Files
    left: int = MOST_BYTES

    def read(self, path: str) -> bytes:
        """Raises Unreadable."""
        self.left -= _LEAST
        data = self.files.read(path, dotenv.MAX_SIZE) if self.left >= 0 else b""
        self.left -= max(len(data) - _LEAST, 0)
        if self.left < 0:
            raise Unreadable(
                f"is one too many: env files have at most {MOST_BYTES} bytes together, counted for each service that "
                "has them"
            )
        return data


@dataclass(frozen=True, slots=True)
class Environment:
    """`unset` are those that the container does not get, even if its image sets them."""

    values: Mapping[str, str]
    unset: frozenset[str]


def environment(
    service: Service, loc: Loc, variables: Mapping[str, str], files: EnvFiles, places: Places
) -> Environment:
    """The service's variables; `variables` answer those without a value. Raises ComposeProblem."""
    stated = {name: variables.get(name) if value is None else value for name, value in service.environment.items()}
    own = {name: value for name, value in stated.items() if value is not None}
    found: dict[str, str] = {}
    lookup = either(variables, own)
    for n, one in enumerate(service.env_file):
        found |= _read(one, (*loc, "env_file", n), lookup, found, files, places)
    unset = frozenset(stated) - frozenset(own)
    return Environment({name: value for name, value in (found | own).items() if name not in unset}, unset)


def _read(
    one: EnvFile, loc: Loc, lookup: Mapping[str, str], earlier: Mapping[str, str], files: EnvFiles, places: Places
) -> dict[str, str]:
    path = clean(one.path)
    try:
        data = files.read(path)
    except Unreadable as e:
        if e.missing and not one.required:
            return {}
        raise places.problem(loc, f"the file {quoted(path, 200)} {e}", permitted=e.permitted) from e
    try:
        if one.format == "raw":
            return dotenv.raw(data, quoted(path, 200), lookup)
        return dotenv.parse(data, quoted(path, 200), lookup, earlier)
    except ComposeProblem as e:
        raise places.problem(loc, e.what) from e
