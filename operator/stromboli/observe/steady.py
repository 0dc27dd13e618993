"""How long something has lasted, whatever happens to the node's clock meanwhile.

The first look at something may be a new operator's: how long it has lasted by then, the clock has to say. From then on
only the monotonic clock counts, so that a clock that is set an hour forward or back ends and prolongs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Seen:
    mark: Hashable
    since: float
    looked: float


class Steady:
    """What is measured, by object and name. `clock` returns seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, dict[str, _Seen]] = {}

    def since(self, uid: str, what: str, mark: Hashable, seconds: float) -> float:
        """Seconds since `what` of this object has had this `mark`; `seconds` is what the node's clock says of that.

        What changed between two looks cannot have changed before the first of them.
        """
        now, known = self._clock(), self._seen.setdefault(uid, {})
        seen = known.get(what)
        if seen is None or seen.mark != mark:
            begun = now - max(seconds, 0.0)
            seen = known[what] = _Seen(mark, begun if seen is None else max(begun, seen.looked), now)
        seen.looked = now
        return now - seen.since

    def forget(self, uid: str) -> None:
        """The object has ended."""
        self._seen.pop(uid, None)
