"""How the operators are, in sum: whether there is one that is ready. It is for whoever asks, so it names no node."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from stromboli.errors import ClusterUnavailable
from stromboli.gateway.onward import Unanswered

SECONDS = 3.0  # for their answers
MOST = 16  # operators that are asked, of more a few at random


class Onward(Protocol):
    """The part of `onward.Onward` that is used here."""

    async def problems(self, node: str, address: str) -> Sequence[str]:
        """The names of the checks that fail at that node's operator. Raises Unanswered."""


class Operators:
    """Asks them. `addresses` are those of the nodes' operators, and raises ClusterUnavailable; `wrong` is what keeps
    the gateway from asking anybody.
    """

    def __init__(
        self, addresses: Callable[[], Awaitable[Mapping[str, str]]], onward: Onward, wrong: Callable[[], str]
    ) -> None:
        self._addresses = addresses
        self._onward = onward
        self._wrong = wrong

    async def problem(self) -> str:
        """Why no run can start, as a sentence; empty if an operator is ready."""
        if self._wrong():  # which may have the API server's address
            return "the gateway is not ready; its log says why"
        try:
            async with asyncio.timeout(SECONDS):
                addresses = await self._addresses()
        except (ClusterUnavailable, TimeoutError):
            return "the API server does not say where the operators are"
        if not addresses:
            return "no operator has said where it listens"
        asked = random.sample(sorted(addresses), min(len(addresses), MOST))
        return await self._of({node: addresses[node] for node in asked})

    async def _of(self, addresses: Mapping[str, str]) -> str:
        tasks = [asyncio.create_task(self._one(node, address)) for node, address in addresses.items()]
        problems: Counter[str] = Counter()
        try:
            async with asyncio.timeout(SECONDS):
                for answer in asyncio.as_completed(tasks):
                    if not (found := await answer):
                        return ""
                    problems.update(found)
        except TimeoutError:
            problems["no answer"] += 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return f"no operator is ready: {', '.join(sorted(problems))}"

    async def _one(self, node: str, address: str) -> Sequence[str]:
        try:
            return await self._onward.problems(node, address)
        except Unanswered:
            return ("no answer",)
