"""Signs of life of parts that last as long as the operator: each says regularly that it goes on.

A part's code calls `beat`, wherever it may take long; it need not know who listens. Whoever starts the part wraps it in
`Hearts.of`, with the longest time that may pass between two signs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Heart:
    """One part. `last` is None before its start."""

    limit: float
    last: float | None = None


_own: ContextVar[_Heart | None] = ContextVar("heart", default=None)


def beat() -> None:
    """The part that this task belongs to goes on. No effect in any other task."""
    if (heart := _own.get()) is not None:
        heart.last = time.monotonic()


class Hearts:
    """The parts of one operator."""

    def __init__(self) -> None:
        self._hearts: dict[str, _Heart] = {}

    def of(self, name: str, limit: float, work: Work) -> Work:
        """The part `name`, which gives a sign of life at least every `limit` seconds from its start on."""
        heart = self._hearts[name] = _Heart(limit)

        async def alive() -> None:
            _own.set(heart)
            beat()
            await work()

        return alive

    def problem(self) -> str | None:
        """The part that has been silent for too long, as a sentence."""
        now = time.monotonic()
        for name, heart in self._hearts.items():
            if heart.last is not None and (silent := now - heart.last) > heart.limit:
                return f"{name} has been stuck for {silent:.0f} s"
        return None
