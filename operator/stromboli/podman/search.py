"""Searches of registries for images, by Podman: it knows how each registry is searched, and with which logins.

One call a registry, side by side, so that one that does not answer takes nothing from the others. What a registry says
about its images is untrusted text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import visible
from stromboli.errors import PodmanError
from stromboli.grammar import reference
from stromboli.podman.connection import Connection
from stromboli.podman.failures import answer, problem_of, reading, redact
from stromboli.registry_problem import RegistryProblem

MOST = 100  # results of one registry: more than anybody reads, and Docker Hub gives no more at once
AT_ONCE = 8
ANSWER = 20.0  # seconds for one registry; Podman itself waits 30 s for an address that does not answer
LARGEST = 4 * 1024 * 1024  # bytes of one registry's results
LONGEST_QUERY = 255  # characters
LONGEST_DESCRIPTION = 200

# Podman's own words before the registry's.
_PREFACE = re.compile(r"^.*?couldn't search registry \"[^\"]*\": ", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """One image. `name` is fully qualified, without a tag; `description` is one line, safe to print."""

    registry: str
    name: str
    description: str
    stars: int
    official: bool
    automated: bool


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A registry that could not be searched, and why."""

    registry: str
    problem: RegistryProblem
    message: str


@dataclass(frozen=True, slots=True)
class Results:
    """What the registries found, in the order in which they were asked."""

    found: tuple[Found, ...]
    unanswered: tuple[Unanswered, ...]


class Search:
    """Searches through one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def everywhere(self, registries: Iterable[str], query: str, limit: int = 25) -> Results:
        """Search all of these registries; at most `limit` results of each. Raises PodmanUnavailable."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(registry: str) -> tuple[Found, ...] | Unanswered:
            async with room:
                return await self._one(registry, query[:LONGEST_QUERY], min(limit, MOST))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(registry)) for registry in dict.fromkeys(registries)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        answers = [task.result() for task in tasks]
        return Results(
            found=tuple(found for each in answers if not isinstance(each, Unanswered) for found in each),
            unanswered=tuple(each for each in answers if isinstance(each, Unanswered)),
        )

    async def _one(self, registry: str, query: str, limit: int) -> tuple[Found, ...] | Unanswered:
        try:
            async with asyncio.timeout(ANSWER):
                return await self._asked(registry, query, limit)
        except TimeoutError:
            return Unanswered(registry, RegistryProblem.UNAVAILABLE, f"no answer within {ANSWER:.0f} s")
        except PodmanError as error:
            words = _PREFACE.sub("", str(error))
            problem = problem_of(words)
            if problem is RegistryProblem.DENIED:  # whose words say nothing more
                return Unanswered(registry, problem, "it wants a login, or denies the one that the node has for it")
            return Unanswered(registry, problem, visible.text(redact(words)))

    async def _asked(self, registry: str, query: str, limit: int) -> tuple[Found, ...]:
        # Up to the first slash a term names the registry; the rest may have slashes of its own.
        params = {"term": f"{registry}/{query}", "limit": str(limit), "noTrunc": "true"}
        async with self._connection.stream("GET", "/images/search", params=params) as response:
            body = await response.read(LARGEST)
        if len(body) > LARGEST:
            raise PodmanError(f"its results are larger than {LARGEST} bytes")
        return read(registry, body)[:limit]


def read(registry: str, body: bytes | str) -> tuple[Found, ...]:
    """The results in Podman's answer. Names that are none are left out: they could not be pulled."""
    with reading("a search"):
        rows = answer(body) or ()
        return tuple(_found(registry, row) for row in rows if reference.problem(str(row["Name"])) is None)


def _found(registry: str, row: Mapping[str, Any]) -> Found:
    description = " ".join(visible.text(str(row["Description"])[: 4 * LONGEST_DESCRIPTION]).split())
    if len(description) > LONGEST_DESCRIPTION:
        description = f"{description[: LONGEST_DESCRIPTION - 1]}…"
    return Found(
        registry=registry,
        name=str(row["Name"]),
        description=description,
        stars=max(int(row["Stars"]), 0),
        official=bool(row["Official"]),
        automated=bool(row["Automated"]),
    )
