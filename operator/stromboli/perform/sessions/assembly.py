"""The parts of this package, joined. Whoever runs the operator hands each caller the part that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.kube.client import Cluster
from stromboli.observe.sessions import Queues
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.costs import Costs
from stromboli.perform.sessions.forks import Forks
from stromboli.perform.sessions.objects import SessionObjects
from stromboli.perform.sessions.onnode import OnNode
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
    sizes: Sizes


def assembled(
    cluster: Cluster, on_node: OnNode, queues: Queues, reporter: SessionReporter, notifier: Notifier
) -> Parts:
    """All parts, for the sessions of one node."""
    sizes = Sizes(on_node.resting, reporter)
    turns = Turns(cluster, on_node, reporter, sizes)
    forks = Forks(cluster, on_node, queues, turns, reporter, notifier)
    resumption = Resumption(on_node, reporter, notifier)
    starts = SessionStarts(on_node.locks, SessionObjects(cluster, notifier), turns, forks, resumption)
    return Parts(starts, turns, Costs(on_node.site, on_node.locks), sizes)
