"""When a finished run is deleted: after its time to live, or because its namespace keeps no more of them. Pure.

Moments are seconds of a clock that nobody sets (perform/history.py): a wall clock that jumps deletes nothing early.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stromboli.errors import Refused
from stromboli.plan import policy as policies
from stromboli.plan.policy import Base, Rules

# How much later than the operator of a run's node the others delete it: it is removed even if that node is lost, and
# where none is, each run is deleted by one of them.
OTHERS = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What is kept in memory of a finished run.

    `completed` is its status's time, and `ended` the moment that this was. `ttl` is in seconds, None if the spec states
    none. `ours` says whether this operator finished it. Until the moment `held`, it is kept for its notification.
    """

    uid: str
    name: str
    version: str
    completed: datetime
    ended: float
    ttl: int | None
    ours: bool
    held: float = -math.inf


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the policies of a namespace say: the time to live of runs that state none in seconds, and how many finished
    runs it keeps. None where they say nothing.
    """

    ttl: float | None = None
    history: int | None = None


FOREVER = Keeping()


@dataclass(frozen=True, slots=True)
class Expired:
    """What is to be deleted now, the oldest end first, and the moment at which to look again if nothing happens.

    `by_spec` are those whose own time to live is over, and `by_policy` all others.
    """

    by_spec: tuple[Finished, ...]
    by_policy: tuple[Finished, ...]
    again: float | None


def keeping(found: Sequence[Rules], labels: Mapping[str, str], base: Base) -> Keeping:
    """What all the policies of the cluster say for a namespace with these labels.

    Those that contradict each other, or make no sense, let no run start there, and delete none.
    """
    try:
        effective = policies.combine([one for one in found if policies.selects(one, labels)], base)
    except Refused:
        return FOREVER
    return Keeping(effective.ttl, effective.history_limit)


def says_nothing(found: Sequence[Rules]) -> bool:
    """Whether no policy deletes anything, in whichever namespace."""
    return all(
        one.spec.history_limit is None and (one.spec.defaults is None or one.spec.defaults.ttl is None) for one in found
    )


def expired(finished: Collection[Finished], keeping: Keeping, now: float) -> Expired:
    """What is to be deleted of all the finished runs of one namespace."""
    by_spec, by_policy, again = [], [], math.inf
    beyond = _beyond(finished, keeping.history)
    for one in finished:
        ttl = keeping.ttl if one.ttl is None else one.ttl
        over = math.inf if ttl is None else one.ended + ttl
        moment = max(min(over, beyond.get(one.uid, math.inf)), one.held)
        late = 0.0 if one.ours else OTHERS
        if moment + late > now:
            again = min(again, moment + late)
        elif one.ttl is not None and over + late <= now:
            by_spec.append(one)
        else:
            by_policy.append(one)
    by_spec.sort(key=_order)
    by_policy.sort(key=_order)
    return Expired(tuple(by_spec), tuple(by_policy), None if again == math.inf else again)


def _beyond(finished: Collection[Finished], limit: int | None) -> dict[str, float]:
    """Those that the namespace keeps no more, and since when: since as many as it keeps have ended after them."""
    many = 0 if limit is None else len(finished) - limit
    if many <= 0:
        return {}
    oldest = heapq.nsmallest(many, finished, key=_order)
    newest = heapq.nlargest(many, finished, key=_order)
    return {one.uid: newer.ended for one, newer in zip(oldest, reversed(newest), strict=True)}


def _order(one: Finished) -> tuple[float, str]:
    """Two that ended at the same moment are in the same order for each operator."""
    return one.ended, one.uid
