"""What befalls an operator on a node of conftest.py: it is killed at one of its calls, or a call to Podman fails."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from stromboli.errors import PodmanError, PodmanUnavailable
from stromboli.podman.transport import Podman


class Killed(BaseException):
    """SIGKILL: no line of the process runs any more."""


class Killer:
    """Kills a process at its n-th call, before the call is made or once it has had its effect.

    `before` is called with the number of each call before it is made; those that `held` matches wait for `go_on`, and
    are in `given_up` if they were cancelled meanwhile.
    """

    def __init__(self, at: int | None = None, *, after: bool = False, held: str | None = None) -> None:
        self.at, self.after = at, after
        self.held, self.go_on = held, asyncio.Event()
        self.before: Callable[[int], None] = lambda _: None
        self.calls: list[str] = []
        self.given_up: list[str] = []
        self.dead = asyncio.Event()

    @asynccontextmanager
    async def guard(self, call: str) -> AsyncIterator[None]:
        self._die_if(self.dead.is_set())
        self.calls.append(call)
        number = len(self.calls)
        self.before(number)
        self._die_if(number == self.at and not self.after)
        if self.held is not None and re.search(self.held, call):
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.given_up.append(call)
                raise
        try:
            yield
        finally:  # whatever the answer was
            self._die_if(self.dead.is_set() or (number == self.at and self.after))

    def _die_if(self, condition: bool) -> None:
        if condition:
            self.dead.set()
            raise Killed


class Trouble:
    """Makes calls to Podman fail: the n-th one (once), and those that `matching` names, for as long as it does."""

    def __init__(self, at: int | None = None, error: Exception | None = None, *, after: bool = False) -> None:
        self.at, self.after = at, after
        self.error = error or PodmanUnavailable("Podman did not answer: connection refused")
        self.matching: str | None = None
        self.calls: list[str] = []

    @asynccontextmanager
    async def guard(self, call: str) -> AsyncIterator[None]:
        self.calls.append(call)
        hit = len(self.calls) == self.at
        if (hit and not self.after) or (self.matching is not None and re.search(self.matching, call)):
            raise self._fresh()
        try:
            yield
        except PodmanError:  # that was the answer, which does not arrive
            if not (hit and self.after):
                raise
        if hit and self.after:
            raise self._fresh()

    def _fresh(self) -> Exception:
        return copy.copy(self.error)  # with all that it says, such as Podman's status


def quiet_about_the_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody asks how a killed process's tasks ended."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


def guarded(podman: Podman, killer: Killer, trouble: Trouble | None) -> None:
    """Route every call to Podman through the two. Most tests make no trouble: their calls have one way less to go."""
    connection = podman._connection
    troubled = connection.stream if trouble is None else _troubled(connection.stream, trouble)

    @asynccontextmanager
    async def stream(method: str, path: str, **options: Any) -> AsyncIterator[Any]:
        async with killer.guard(f"{method} {path}"), troubled(method, path, **options) as response:
            yield response

    connection.stream = stream  # type: ignore[method-assign]


def _troubled(original: Callable[..., Any], trouble: Trouble) -> Callable[..., Any]:
    @asynccontextmanager
    async def stream(method: str, path: str, **options: Any) -> AsyncIterator[Any]:
        async with trouble.guard(f"{method} {path}"), original(method, path, **options) as response:
            yield response

    return stream
