"""Connects the parts of this package. The operator's assembly passes to each caller the part that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stromboli.kube.client import Cluster
from stromboli.node.jobs import Jobs
from stromboli.observe.sessions import Queues
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.costs import Costs
from stromboli.perform.sessions.forks import Copying, Forks
from stromboli.perform.sessions.objects import SessionObjects
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.parents import Parents
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.sessions.resume import Resumption
from stromboli.perform.sessions.sizes import Sizes
from stromboli.perform.sessions.starts import SessionStarts
from stromboli.perform.sessions.turns import Turns


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that other packages use."""

    starts: SessionStarts
    turns: Turns
    costs: Costs
    forks: Forks
    sizes: Sizes
    jobs: tuple[Jobs[Any, Any], ...]

    async def close(self) -> None:
        """Cancel all jobs; the next operator process starts them again."""
        for jobs in self.jobs:
            await jobs.close()


@dataclass(frozen=True, slots=True)
class Wakes:
    """How the end of a job wakes a run, or a session, by its UID, and how a run that leaves a session of this namespace
    and name wakes the next.
    """

    run: Callable[[str], None]
    session: Callable[[str], None]
    next_in: Callable[[str, str], None]


def assembled(
    cluster: Cluster, on_node: OnNode, queues: Queues, reporter: SessionReporter, notifier: Notifier, wakes: Wakes
) -> Parts:
    """All parts, for the sessions of one node."""
    copies: Jobs[Copying, None] = Jobs(wakes.run)
    walks: Jobs[str, int | None] = Jobs(wakes.session)
    sizes = Sizes(on_node.resting, reporter, walks)
    turns = Turns(cluster, on_node, reporter, sizes, wakes.next_in)
    forks = Forks(on_node, Parents(cluster, queues, reporter), turns, reporter, notifier, copies)
    resumption = Resumption(on_node, reporter, notifier)
    starts = SessionStarts(on_node.locks, SessionObjects(cluster, notifier), turns, forks, resumption)
    return Parts(starts, turns, Costs(on_node.site, on_node.locks), forks, sizes, (copies, walks))
