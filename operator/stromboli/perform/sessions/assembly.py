"""The parts of this package, connected. The operator's process passes to each caller the part that it needs."""

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
    """What others use."""

    starts: SessionStarts
    turns: Turns
    costs: Costs
    forks: Forks
    sizes: Sizes
    jobs: tuple[Jobs[Any, Any], ...]

    async def close(self) -> None:
        """Break off what goes on beside the turns; the next operator starts it again."""
        for jobs in self.jobs:
            await jobs.close()


@dataclass(frozen=True, slots=True)
class Wakes:
    """Whom the end of a job wakes, by UID: a run, a session."""

    run: Callable[[str], None]
    session: Callable[[str], None]


def assembled(
    cluster: Cluster, on_node: OnNode, queues: Queues, reporter: SessionReporter, notifier: Notifier, wakes: Wakes
) -> Parts:
    """All parts, for the sessions of one node."""
    copies: Jobs[Copying, None] = Jobs(wakes.run)
    walks: Jobs[str, int | None] = Jobs(wakes.session)
    sizes = Sizes(on_node.resting, reporter, walks)
    turns = Turns(cluster, on_node, reporter, sizes)
    forks = Forks(on_node, Parents(cluster, queues, reporter), turns, reporter, notifier, copies)
    resumption = Resumption(on_node, reporter, notifier)
    starts = SessionStarts(on_node.locks, SessionObjects(cluster, notifier), turns, forks, resumption)
    return Parts(starts, turns, Costs(on_node.site, on_node.locks), forks, sizes, (copies, walks))
