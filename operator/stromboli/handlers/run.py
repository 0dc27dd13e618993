"""The operator as a process: its locks, its start, its watches and its end. What it is made of: assembly.py."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import kopf

from stromboli import naming
from stromboli import settings as configuration
from stromboli.api.claude import ClaudeRoutes
from stromboli.api.images import ImageRoutes
from stromboli.api.logs import LogRoutes
from stromboli.api.messages import Messages
from stromboli.api.readiness import ReadinessRoute
from stromboli.api.server import serving
from stromboli.attempt import busybox
from stromboli.attempt.folder import private_runtime
from stromboli.backoff import backoff
from stromboli.errors import ClusterUnavailable, InvalidSettings, PartDied
from stromboli.handlers.assembly import Parts, assembled
from stromboli.handlers.vitals import Vitals
from stromboli.handlers.watches import register
from stromboli.heartbeat import beat
from stromboli.keys.certificates import Subject
from stromboli.keys.keyring import Keyring
from stromboli.kube.client import Cluster
from stromboli.kube.system import System
from stromboli.metrics.operator import OperatorMetrics
from stromboli.observe import claude
from stromboli.podman.transport import Podman
from stromboli.settings import Settings
from stromboli.stderrlog import log_to_stderr
from stromboli.supervision import Work, together
from stromboli.sweep import EVERY, Sweep

log = logging.getLogger(__name__)

ENDING = 12.0  # seconds that kopf has to end
_KOPF = str(Path(kopf.__file__).parent)
RETRY = 5.0  # seconds at most until a failed sweep is retried
T = TypeVar("T")


def run_operator(config: Path | None = None) -> None:
    """Run the operator until SIGTERM or SIGINT. Raises InvalidSettings."""
    settings = configuration.load(os.environ, config)
    log_to_stderr()
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    for warning in settings.warnings:
        log.warning("%s", warning)
    with _only_one(settings.home):
        busybox.install(settings.home)
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    async with AsyncExitStack() as stack:
        metrics = OperatorMetrics(version("stromboli-operator"))
        podman = Podman(settings.podman_socket, observe=metrics.podman_called)
        stack.push_async_callback(podman.close)
        vitals = Vitals(settings, podman, metrics)
        await stack.enter_async_context(vitals.served())
        cluster = Cluster(metrics.api_server_called)
        stack.push_async_callback(cluster.close)
        installation = await _eventually("the API server", cluster.installation, vitals)
        _claim(settings.home, installation)
        stack.enter_context(_only_one_of_node(settings, installation))
        await _eventually("the CustomResourceDefinitions", cluster.serves_its_kinds, vitals)
        async with (
            assembled(settings, cluster, podman, installation, metrics) as parts,
            _api(settings, cluster, parts, vitals),
        ):
            await _watch(settings, parts, vitals)


@asynccontextmanager
async def _api(settings: Settings, cluster: Cluster, parts: Parts, vitals: Vitals) -> AsyncIterator[None]:
    """The read API, served inside the block."""
    host, port = settings.api_address
    system = System(cluster.plain, settings.system_namespace)
    subject = Subject(naming.MANAGER, (naming.operator_host(settings.node),), client=False)
    routes = (
        Messages(cluster.session, parts.conversations),
        ImageRoutes(parts.discovery),
        LogRoutes(parts.outputs),
        ClaudeRoutes(partial(claude.status, cluster, settings)),
        ReadinessRoute(vitals.health.problems),
    )
    async with serving(routes, Keyring(system, subject), system, node=settings.node, host=host, port=port):
        yield


async def _watch(settings: Settings, parts: Parts, vitals: Vitals) -> None:
    """kopf's loop and the background tasks beside it; the operator is ready after the first complete sweep.

    The cluster is listed first: the watch reports runs one by one, but the order of a session's queue depends on all
    of them. Handlers that still wait when kopf ends would delay it by 5 s, so the queues are closed by then.
    """
    ready = settings.home / "operator.ready"
    ready.unlink(missing_ok=True)
    await _eventually("the runs and sessions of the cluster", parts.background.sweep.begin, vitals)
    vitals.of(parts)
    try:
        await together(
            partial(_kopf, parts, vitals),
            "the watch of the cluster",
            lasting={
                **{name: vitals.beating(name, work) for name, work in _beating(parts, ready, vitals).items()},
                "the follower of removals": parts.background.removals.follow,
                "the health checks": vitals.probing(),
            },
            passing={"the search for the CLI's image": parts.background.warm_up.keep_trying},
        )
    finally:
        ready.unlink(missing_ok=True)


def _beating(parts: Parts, ready: Path, vitals: Vitals) -> dict[str, Work]:
    """The lasting parts that give signs of life. The others wait for news, which may not come for days."""
    background = parts.background
    return {
        "the sweep": partial(_sweep, background.sweep, ready, parts.queue.wake_all, vitals),
        "the guard of the disk": background.guard.run,
        "the deletion of finished runs": background.expiry.run,
        "the times of outputs": background.times.run,
    }


async def _kopf(parts: Parts, vitals: Vitals) -> None:
    """kopf's loop, until a signal ends the process. Raises PartDied if it ends by itself, or does not end.

    When one watch dies, kopf first ends all others, and can wait for one of them forever (seen with 1.45.2).
    """
    stop, ending = asyncio.Event(), asyncio.Event()
    registry = register(parts.store, parts.wakers, ending, vitals.watched)
    watching = asyncio.ensure_future(_watches(registry, stop))
    late = asyncio.ensure_future(_seconds_after(ending, ENDING))
    try:
        await asyncio.wait({watching, late}, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            raise PartDied(f"the watch of the cluster has been ending for {ENDING:.0f} s")
        await watching
    finally:
        watching.cancel()
        late.cancel()
    if not stop.is_set():
        raise PartDied("the watch of the cluster has ended by itself")


async def _watches(registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """kopf's tasks, until they end. A signal that ends the process sets `stop`. This replaces kopf's own signal
    handlers, which do not report why it ends, and after which it takes up to 5 s to notice.
    """
    tasks = await kopf.spawn_tasks(registry=registry, standalone=True, clusterwide=True, stop_flag=stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await kopf.run_tasks(tasks, ignored=_Ours())


class _Ours(frozenset["asyncio.Task[object]"]):
    """All tasks but those whose coroutine is one of kopf's. In the end kopf waits 5 s for every other task and cancels
    it, also what has begun since and is not its own, such as a connection of the read API.
    """

    def __contains__(self, task: object) -> bool:
        assert isinstance(task, asyncio.Task)
        code = getattr(task.get_coro(), "cr_code", None)
        return code is None or not code.co_filename.startswith(_KOPF)


async def _seconds_after(event: asyncio.Event, seconds: float) -> None:
    await event.wait()
    await asyncio.sleep(seconds)


async def _sweep(sweep: Sweep, ready: Path, wake_all: Callable[[], None], vitals: Vitals) -> None:
    """Sweep immediately and then every minute; a failed sweep is retried sooner.

    The first one that succeeds after a failure wakes every waiting run, since the same cause may have stopped them.
    """
    failures = 0
    while True:
        beat()
        through = await sweep.attempt()
        vitals.swept(sweep.problem)
        if through and failures:
            wake_all()
        failures = 0 if through else failures + 1
        _say_ready(ready)
        await asyncio.sleep(EVERY if through else min(backoff(failures), RETRY))


def _say_ready(ready: Path) -> None:
    """The file is only for whoever started the operator: if it cannot be written, the operator works without it."""
    if ready.exists():
        return
    try:
        ready.write_text(f"{os.getpid()}\n", encoding="ascii")
        log.info("ready")
    except OSError as error:
        log.warning("ready, but %s cannot be written: %s", ready, error.strerror)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Reports what asyncio would report, with one harmless exception: when a socket becomes readable just as anyio's
    wait for it is cancelled, the result of a cancelled future is set, for which nothing waits any more.
    """
    if isinstance(context.get("exception"), asyncio.InvalidStateError) and "set_result" in str(context.get("message")):
        log.debug("%s", context["message"])
    else:
        loop.default_exception_handler(context)


async def _eventually(what: str, ask: Callable[[], Awaitable[T]], vitals: Vitals) -> T:
    """Retry what the operator cannot start without until the API server answers, and log that it waits."""
    failures = 0
    while True:
        try:
            return await ask()
        except ClusterUnavailable as error:
            failures += 1
            vitals.starting = f"waiting for {what}: {error}"
            log.warning("%s", vitals.starting)
            await asyncio.sleep(backoff(failures))


def _only_one(home: Path) -> AbstractContextManager[None]:
    """A lock on the home: two operators with the same home would each treat the other's runs as their own."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = f"another operator is running in {home}; stop it, or set another folder"
    return _locked(home / "operator.lock", said, "STROMBOLI_HOME")


def _only_one_of_node(settings: Settings, installation: str) -> AbstractContextManager[None]:
    """A lock on the node's name on this machine: with two homes, neither operator would see the other's attempts."""
    folder = private_runtime(settings.runtime_dir, installation)
    said = f"another operator is running for this cluster as node {settings.node}; stop it, or set another name"
    return _locked(folder / f"{quote(settings.node, safe='')}.lock", said, "STROMBOLI_NODE")


@contextmanager
def _locked(path: Path, refusal: str, setting: str) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise InvalidSettings(refusal, setting) from e
        yield


def _claim(home: Path, installation: str) -> None:
    """One home serves one cluster: with another cluster, the sweep would remove this one's sessions as leftovers."""
    marker = home / "installation"
    known = marker.read_text(encoding="ascii").strip() if marker.exists() else ""
    if known and known != installation:
        raise InvalidSettings(
            f"{home} belongs to another cluster (its kube-system has the UID {known}); set another folder",
            "STROMBOLI_HOME",
        )
    marker.write_text(f"{installation}\n", encoding="ascii")
