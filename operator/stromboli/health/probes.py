"""What has to be asked for: Podman and the disk, every few seconds, whether or not anybody wants to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from stromboli.errors import StromboliError
from stromboli.health.checks import Debounced, Health
from stromboli.heartbeat import beat

log = logging.getLogger(__name__)

EVERY = 5.0
PATIENCE = 3.0  # seconds for an answer

Ask = Callable[[], Awaitable[None]]


class Probes:
    """Asks `questions` by name: each returns if all is well, and otherwise raises one of our errors."""

    def __init__(self, questions: Mapping[str, Ask]) -> None:
        self._questions = questions
        self._found = {name: Debounced("not asked yet") for name in questions}
        self._under_way: dict[str, asyncio.Task[str | None]] = {}

    def problem(self, name: str) -> str | None:
        """What is wrong, as a sentence."""
        return self._found[name].problem()

    async def run(self, health: Health) -> None:
        """Ask, forever; and log what has become wrong, or is well again, of everything that `health` knows."""
        said: set[str] = set()
        try:
            while True:
                beat()
                await self.once()
                said = _log(health, said)
                await asyncio.sleep(EVERY)
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def once(self) -> None:
        """Ask once. What has not been answered since the last time is not asked again: a thread may hang in it."""
        for name, ask in self._questions.items():
            if name not in self._under_way:
                self._under_way[name] = asyncio.create_task(_problem(ask), name=f"the check of {name}")
        await asyncio.wait(self._under_way.values(), timeout=PATIENCE)
        for name, task in list(self._under_way.items()):
            if task.done():
                self._found[name].found(self._under_way.pop(name).result())
            else:
                self._found[name].found(f"no answer within {PATIENCE:.0f} s")


async def _problem(ask: Ask) -> str | None:
    try:
        await ask()
    except (StromboliError, OSError) as error:
        return str(error)
    return None


def _log(health: Health, said: set[str]) -> set[str]:
    """Log what has changed; returns the names of the checks that fail now."""
    problems = dict(problem.split(": ", 1) for problem in health.problems())
    for name in sorted(problems.keys() - said):
        log.warning("not ready: %s: %s", name, problems[name])
    for name in sorted(said - problems.keys()):
        log.info("%s is well again", name)
    return set(problems)
