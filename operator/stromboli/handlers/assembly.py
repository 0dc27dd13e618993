"""The parts of an operator: they are created, connected and closed here. The process is in run.py.

Three groups, each of which uses the earlier ones: what is on the node, what writes statuses, what reconciles.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from stromboli.agentimages import AgentImages
from stromboli.attempt import containers
from stromboli.attempt.folder import private_runtime
from stromboli.attempt.site import Site
from stromboli.handlers.watches import Wakers
from stromboli.kube.client import Cluster
from stromboli.metrics.operator import OperatorMetrics
from stromboli.metrics.runs import RunMetrics
from stromboli.models.objects import Object
from stromboli.models.session import Session
from stromboli.node.access import Access
from stromboli.node.cleanup import Cleaner, Inventory
from stromboli.node.cli import CLIMounts
from stromboli.node.conversations import Conversations
from stromboli.node.ends import Ends
from stromboli.node.guard import Guard
from stromboli.node.holdings import Holdings
from stromboli.node.images import Images
from stromboli.node.networks import Networks
from stromboli.node.removals import Removals
from stromboli.node.resting import Resting
from stromboli.node.serial import SessionLocks
from stromboli.node.stacks.builds import StackBuilds
from stromboli.node.stacks.stacks import Stacks
from stromboli.node.start_gate import StartGate
from stromboli.observe.index import Index
from stromboli.observe.policy import Policies
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.observe.schemas import Schemas
from stromboli.observe.sessions import Queues
from stromboli.observe.steady import Steady
from stromboli.observe.traces import Traces
from stromboli.perform.clisources import CLIWarmUp
from stromboli.perform.deletions import Deletions
from stromboli.perform.endings import Endings
from stromboli.perform.entry import Entry
from stromboli.perform.expiry import Expiry
from stromboli.perform.finisher import Finisher
from stromboli.perform.gates import Gates
from stromboli.perform.going import Going
from stromboli.perform.history import History
from stromboli.perform.images.discovery import Discovery
from stromboli.perform.images.provider import Provider
from stromboli.perform.images.removal import Removals as ImageRemovals
from stromboli.perform.images.report import ImageReporter
from stromboli.perform.judge import Judge
from stromboli.perform.launch import Launcher
from stromboli.perform.logs.services import ServiceLogs
from stromboli.perform.logs.steps import Outputs
from stromboli.perform.logs.times import Times
from stromboli.perform.lookups import Lookups
from stromboli.perform.notifications.deliveries import Deliveries
from stromboli.perform.notifications.due import AllDue
from stromboli.perform.notifications.sending import Sender
from stromboli.perform.notify import Notifier
from stromboli.perform.policies import EVERY_POLICY, PolicyStatuses
from stromboli.perform.report import Reporter
from stromboli.perform.run_images import RunImages
from stromboli.perform.sessions import assembly as session_parts
from stromboli.perform.sessions.gates import SessionGates
from stromboli.perform.sessions.objects import SessionObjects
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.stacks.gates import StackGates
from stromboli.perform.stacks.starts import StackStarts
from stromboli.perform.stacks.upkeep import StackUpkeep
from stromboli.perform.start_line import StartLine
from stromboli.perform.starter import Starter
from stromboli.perform.stopper import Stopper
from stromboli.podman.transport import Podman
from stromboli.reconcile import Performers, Reconciler
from stromboli.settings import Settings
from stromboli.store import Store
from stromboli.survey import Survey
from stromboli.sweep import Shared, Sweep
from stromboli.upkeep import Upkeep
from stromboli.work_queue import WorkQueue


@dataclass(frozen=True, slots=True)
class Background:
    """What works beside the reconcile passes for as long as the operator does."""

    sweep: Sweep
    guard: Guard
    removals: Removals
    warm_up: CLIWarmUp
    expiry: Expiry
    times: Times


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an operator that its process works with."""

    store: Store
    queue: WorkQueue
    wakers: Wakers
    background: Background
    discovery: Discovery
    outputs: Outputs
    conversations: Conversations
    queues: Mapping[str, WorkQueue]  # by what their keys stand for


@asynccontextmanager
async def assembled(
    settings: Settings, cluster: Cluster, podman: Podman, installation: str, metrics: OperatorMetrics
) -> AsyncIterator[Parts]:
    """Create the parts and connect them; they are closed at the end of the block."""
    history = History(settings.node)
    due = AllDue(settings.node, lambda uid: delivery_queue.wake(uid), metrics.notified)
    store = Store(lambda uid: queue.wake(uid), history, due, observer=RunMetrics(metrics, settings.node))
    queue = WorkQueue(lambda uid: reconciler.reconcile(uid))
    session_queue = WorkQueue(lambda uid: upkeep.reconcile(uid))
    policy_queue = WorkQueue(PolicyStatuses(cluster).reconcile)
    image_queue = WorkQueue(lambda uid: images.reconcile(uid))
    # Its passes wait for receivers and for each other: how long one takes says nothing about the operator's health.
    delivery_queue = WorkQueue(lambda uid: deliveries.reconcile(uid))

    def wake(uid: str) -> None:
        """Wake a run or an AgentImage."""
        (image_queue if images.knows(uid) else queue).wake(uid)

    node = _node(settings, podman, installation, wake, metrics)
    on_node = node.on_node
    voice = _voice(settings, cluster, store)
    deliveries = Deliveries(cluster, settings, store, due, voice.notifier, Sender())
    queues = Queues(cluster, store)
    index = Index(cluster.session_outline, cluster.sessions)
    metrics.sessions.set_function(lambda: len(index))
    sessions = session_parts.assembled(
        cluster,
        on_node,
        queues,
        voice.sessions,
        voice.notifier,
        session_parts.Wakes(queue.wake, session_queue.wake, store.wake_next),
    )
    schemas = Schemas()
    secrets, policies = PullSecrets(cluster, settings.system_namespace), Policies(cluster, settings)
    stacks = Stacks(podman, on_node.site, on_node.locks, session_queue.wake, lambda uid, told: starts.tell(uid, told))
    builds = StackBuilds(podman, on_node.site, queue.wake)
    starts = StackStarts(on_node.site, stacks, builds, voice.runs, voice.notifier, queue.wake)
    gates = Gates(
        Lookups(cluster, settings, schemas, policies),
        SessionGates(queues, settings.node, session_queue.wake),
        RunImages(node.images, node.mounts, secrets),
        StackGates(cluster, node.images, secrets, builds, SessionObjects(cluster, voice.notifier)),
        StartLine(node.gate, settings.node),
    )
    entry = Entry(gates, sessions.starts, starts, on_node.locks)
    reconciler = _reconciler(cluster, store, entry, node, voice, _Sessions(sessions, starts, index), schemas)
    stack_upkeep = StackUpkeep(stacks, policies, voice.sessions, voice.notifier)
    upkeep = Upkeep(cluster, store, index, sessions, stack_upkeep, voice.sessions)
    images = AgentImages(
        cluster,
        node.images,
        Provider(cluster, settings, node.images, node.mounts, secrets),
        ImageRemovals(cluster, settings, store, podman, Holdings(settings.home)),
        ImageReporter(cluster, voice.notifier, settings.node),
        image_queue.wake,
    )

    def wake_session(session: Object) -> None:
        session_queue.wake(index.add(session))

    def wake_all() -> None:
        queue.wake_all()
        images.wake_all()

    expiry = Expiry(cluster, settings, store, history, queue.wake)

    def wake_policies() -> None:
        policy_queue.wake(EVERY_POLICY)
        expiry.policies_changed()

    survey = Survey(cluster, store, node.gate, settings.node, queue.wake, wake_session)
    shared = Shared(node.images, node.mounts, node.networks, voice.notifier, node.gate)
    sweep = Sweep(survey, Inventory(podman, on_node.site), on_node.cleaner, shared, stacks, images.check)

    async def close() -> None:
        queues_of_work = (queue, session_queue, policy_queue, image_queue, delivery_queue)
        for part in (*queues_of_work, sessions, starts, stacks, node.ends, node.images, voice.notifier):
            await part.close()

    try:
        background = Background(
            sweep=sweep,
            guard=Guard(podman, on_node.site, node.ends.watched),
            removals=Removals(podman, installation, node.ends.forget),
            warm_up=CLIWarmUp(cluster, settings, node.mounts, secrets),
            expiry=expiry,
            times=Times(store, on_node.site, settings.node),
        )
        wakers = Wakers(queue.wake, wake_all, wake_session, images.hear, wake_policies, close)
        discovery = Discovery(cluster, settings, podman, node.images, node.mounts, secrets)
        queues_by_kind = {"run": queue, "session": session_queue, "image": image_queue, "policies": policy_queue}
        services = ServiceLogs(podman, on_node.site)
        outputs = Outputs(cluster.followed_run, store, on_node.site, settings.node, services)
        site = on_node.site
        conversations = Conversations(
            podman, podman.folders, installation, lambda uid: site.folder(uid).given_before(""), node.images.reading
        )
        yield Parts(store, queue, wakers, background, discovery, outputs, conversations, queues_by_kind)
    finally:
        await close()


@dataclass(frozen=True, slots=True)
class _Node:
    """What is kept alive on the node."""

    on_node: OnNode
    images: Images
    mounts: CLIMounts
    networks: Networks
    ends: Ends
    gate: StartGate


def _node(
    settings: Settings, podman: Podman, installation: str, wake: Callable[[str], None], metrics: OperatorMetrics
) -> _Node:
    site = Site(settings.home, private_runtime(settings.runtime_dir, installation), installation)
    locks = SessionLocks()
    cleaner = Cleaner(podman, site, locks)
    access = Access(settings.home)
    images = Images(podman, settings.home / "cache", access, installation, wake, metrics.pull_ended)
    return _Node(
        on_node=OnNode(podman, site, Resting(podman, site, cleaner), cleaner, locks),
        images=images,
        mounts=CLIMounts(podman, images, installation),
        networks=Networks(podman, installation),
        ends=Ends(podman, wake),
        gate=StartGate(settings.max_starts, settings.max_runs, wake),
    )


@dataclass(frozen=True, slots=True)
class _Voice:
    """What writes: events, and the statuses of runs and of sessions."""

    notifier: Notifier
    runs: Reporter
    sessions: SessionReporter


def _voice(settings: Settings, cluster: Cluster, store: Store) -> _Voice:
    notifier = Notifier(cluster)
    return _Voice(notifier, Reporter(cluster, store, notifier, settings.node), SessionReporter(cluster, settings.node))


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What takes care of sessions, and of their stacks; and the sessions that are known."""

    parts: session_parts.Parts
    stacks: StackStarts
    index: Index[Session]


def _reconciler(
    cluster: Cluster,
    store: Store,
    entry: Entry,
    node: _Node,
    voice: _Voice,
    sessions: _Sessions,
    schemas: Schemas,
) -> Reconciler:
    reporter, notifier, on_node = voice.runs, voice.notifier, node.on_node
    traces = Traces(cluster, partial(containers.find, on_node.podman, on_node.site), on_node.site, Steady())
    launcher = Launcher(on_node.podman, on_node.site, node.networks, node.ends)
    going = Going(launcher, reporter, notifier, node.ends.watch)
    endings = Endings(reporter, notifier, sessions.parts, sessions.stacks, on_node.cleaner, node.ends.forget)
    judge = Judge(cluster, schemas, sessions.parts.costs)
    finisher = Finisher(traces, judge, endings, reporter, notifier, entry)
    performers = Performers(
        starter=Starter(entry, launcher, going, endings, reporter, notifier),
        going=going,
        finisher=finisher,
        stopper=Stopper(traces, finisher, reporter, notifier, entry.bound),
        deletions=Deletions(on_node.cleaner, sessions.index, sessions.parts, sessions.stacks),
    )
    return Reconciler(cluster, store, traces, entry, performers, reporter)
