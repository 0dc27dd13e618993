"""A node without containers: the operator's parts, joined as in the process, on a fake Podman and a fake cluster.

What is inside a container is played by `Node`: it breaks the seals as the supervisor does, and counts the prompts
that it sends. A `Process` may be killed at any call that it makes, and another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming, supervision, work_queue
from stromboli.attempt import busybox
from stromboli.attempt.seals import SEAL
from stromboli.handlers.assembly import Parts, assembled
from stromboli.handlers.watches import Wakers, take, take_session
from stromboli.kube.objects import head
from stromboli.metrics.operator import OperatorMetrics
from stromboli.node.guard import Guard
from stromboli.node.removals import Removals
from stromboli.perform.expiry import Expiry
from stromboli.perform.images.discovery import Discovery
from stromboli.settings import Settings
from stromboli.store import Store
from stromboli.sweep import Sweep
from stromboli.work_queue import WorkQueue
from tests.support.elf import TinyElf, glibc_libc, glibc_loader, program
from tests.support.fake_cluster import FakeCluster, Object
from tests.support.fake_podman import FakeContainer, FakePodman
from tests.support.fake_podman_wire import within
from tests.support.opener import Image
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.faults import Killer, Trouble, guarded, quiet_about_the_killed

PATIENCE = 30.0  # seconds; on a busy machine, a few dozen runs take some
# Where a file system in memory is: the operator syncs each seal to its disk, and these tests make hundreds of nodes.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SPACE = "space"
IMAGE = "docker.io/library/python:3.12"
CLI = "localhost/stromboli/agent:test"
LOADER = "/lib64/ld-linux-x86-64.so.2"
MULTIARCH = "/usr/lib/x86_64-linux-gnu"
ANSWER = b'{"type":"result","subtype":"success","is_error":false,"result":"forty-two","num_turns":1}\n'


def told(parts: Parts, how: str, obj: Object) -> None:
    """As kopf's watches report it."""
    if obj["kind"] == "AgentImage":
        parts.wakers.image(head(obj["metadata"]))
        return
    (take if obj["kind"] == "AgentRun" else take_session)(parts.store, parts.wakers, how, head(obj["metadata"]))


@dataclass
class Process:
    """One operator at work."""

    store: Store
    queue: WorkQueue
    sweep: Sweep
    removals: Removals
    killer: Killer
    guard: Guard
    wakers: Wakers
    discovery: Discovery
    expiry: Expiry
    metrics: OperatorMetrics

    def is_idle(self) -> bool:
        """Whether nothing waits in its queue and nothing is at work."""
        return len(self.queue) == 0


Play = Callable[["Inside"], Awaitable[None]]


@dataclass(frozen=True)
class Inside:
    """What a started container sees: its folders, and how it ends."""

    container: FakeContainer
    plan: Path
    out: Path
    secret: Path
    cli: Path
    fake: FakePodman

    def end(self, code: int) -> None:
        if self.container.id in self.fake.containers:
            self.fake.finish(self.container, code)


@dataclass
class Node:
    """One machine and its cluster. `prompts` has each prompt that was sent: (UID, the attempt's folder)."""

    folder: Path
    fake: FakePodman
    cluster: FakeCluster
    settings: Settings
    prompts: list[tuple[str, str]] = field(default_factory=list)
    # What the agent does once the prompt is sent, and what happens before; a test may put its own here.
    agent: Play | None = None
    supervisor: Play | None = None

    def home(self, settings: Settings | None = None) -> Path:
        return (settings or self.settings).home

    def run(self, name: str = "run", **spec: Any) -> Object:
        return self.cluster.add_run(SPACE, name, {"prompt": "answer", "image": "python:3.12", **spec})

    def get(self, name: str = "run") -> Object:
        return self.cluster.objects[SPACE, name]

    def status(self, name: str = "run") -> Any:
        return self.get(name).get("status") or {}

    def status_names(self) -> list[str]:
        """The names of all runs that have a status."""
        return [name for (_, name), obj in self._all() if obj.get("status")]

    def message(self, name: str = "run") -> str:
        """The sentence of the condition `Succeeded`."""
        return str(next(c["message"] for c in self.status(name)["conditions"] if c["type"] == "Succeeded"))

    def agents(self) -> list[FakeContainer]:
        return [c for c in self.fake.containers.values() if c.labels.get(naming.ROLE) == naming.AGENT]

    def out(self, uid: str, number: int = 1, *, session: str | None = None) -> Path:
        """The folder of the records of a run's attempt; its session is its own, unless one is given."""
        return self.settings.home / "sessions" / (session or uid) / "attempts" / f"{uid}-{number}" / "out"

    def left(self, uid: str) -> list[str]:
        """What is still on the node of a session."""
        found = [f"container {c.name}" for c in self.fake.containers.values() if uid in c.name]
        found += [f"volume {name}" for name in self.fake.volumes if uid in name]
        for root in (self.settings.home, self.settings.runtime_dir):
            for folder, below, _ in os.walk(root):
                found += [str(Path(folder, name).relative_to(root)) for name in below if name == uid]
        return found

    @asynccontextmanager
    async def process(
        self, killer: Killer | None = None, settings: Settings | None = None, trouble: Trouble | None = None
    ) -> AsyncIterator[Process]:
        """An operator, from its start to its end; what a killed one has half done stays half done."""
        killer = killer or Killer()
        metrics = OperatorMetrics("test")
        asyncio.get_running_loop().set_exception_handler(quiet_about_the_killed)
        self.cluster.guard = killer.guard
        async with within(self.fake.within) as podman:
            guarded(podman, killer, trouble)
            async with (
                assembled(settings or self.settings, self.cluster, podman, self.cluster.uid, metrics) as parts,
                self.cluster.watch(lambda how, obj: told(parts, how, obj)),
            ):
                yield Process(
                    parts.store,
                    parts.queue,
                    parts.background.sweep,
                    parts.background.removals,
                    killer,
                    parts.background.guard,
                    parts.wakers,
                    parts.discovery,
                    parts.background.expiry,
                    metrics,
                )

    def switch_off(self) -> None:
        """Whatever still runs ends: an open call about it is answered."""
        for container in self.fake.containers.values():
            self.fake.finish(container, 137)

    def cut(self) -> None:
        """Every connection to Podman breaks."""
        self.fake.within.cut()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something of the cluster or the node, looked at whenever there may be news."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():  # noqa: ASYNC110 - many things change here, and none signals it
                    await asyncio.sleep(0.002)
        except TimeoutError:
            states = {name: (reason_of(o.get("status") or {}), o.get("status")) for (_, name), o in self._all()}
            raise AssertionError(f"{what}: not in {PATIENCE:.0f} s; {states}") from None

    async def finished(self, *names: str) -> None:
        """Until these runs (all, if none is named) have ended."""
        wanted = names or tuple(name for (_, name), _ in self._all())
        await self.until(lambda: all(is_finished(self.status(n)) for n in wanted), f"{wanted} finished")

    async def cleared(self, process: Process | None = None) -> None:
        """Until all runs have ended, and (after a sweep of this process) their containers and volumes are gone."""
        await self.finished()
        while process is not None and not await process.sweep.attempt():
            pass
        await self.until(lambda: not self.agents() and not self.fake.volumes, "containers and volumes are gone")

    async def reason(self, reason: str, name: str = "run") -> Object:
        await self.until(lambda: reason_of(self.status(name)) == reason, f"{name} is {reason}")
        return self.get(name)

    def _all(self) -> list[tuple[tuple[str, str], Object]]:
        return list(self.cluster.objects.items())

    async def play(self, container: FakeContainer) -> None:
        """PID 1 of a container, as attempt/supervisor/: refuse, break the seals, send, record."""
        if container.labels.get(naming.ROLE) == naming.COPIER:
            self.fake.end(container.id)
        if container.labels.get(naming.ROLE) != naming.AGENT:
            return
        places = {m["destination"]: Path(m["source"]) for m in container.body["mounts"]}
        plan, out, secret, cli = (
            places[p].resolve() for p in (naming.PLAN, naming.OUT, naming.HANDED, naming.CLI_MOUNT)
        )
        inside = Inside(container, plan, out, secret, cli, self.fake)
        if self.supervisor is not None:
            await self.supervisor(inside)
            return
        await self.supervise(inside)

    async def supervise(self, inside: Inside) -> None:
        if not (inside.cli / "bin/claude").exists():
            return inside.end(120)
        if (inside.out / "started").exists():
            return inside.end(121)
        (inside.out / "started").mkdir()
        assert (inside.plan / "prompt").read_bytes() == b"answer"
        send(inside.out)
        self.prompts.append((container_owner(inside.container), inside.out.parent.name))
        if self.agent is not None:
            return await self.agent(inside)
        self.answer(inside)
        return None

    def answer(self, inside: Inside, code: int = 0, before: bytes = b"") -> None:
        """The agent's answer, after what it wrote `before`, and the end."""
        (inside.out / "stdout").write_bytes(before + ANSWER)
        cause = "completed" if code == 0 else "failed"
        (inside.out / "record").write_text(
            f"start 1.0\nbegin agent 0 1.0\nfinish {code} 2.0\nend {cause} {code} 0 2.0\n"
        )
        inside.end(code)


def send(out: Path) -> None:
    """As the supervisor does before it sends the prompt: the file's time of change is another, and that shows."""
    before = (out / SEAL).stat().st_ctime_ns
    while (out / SEAL).stat().st_ctime_ns == before:
        (out / SEAL).touch()


def container_owner(container: FakeContainer) -> str:
    return container.labels[naming.OWNER]


@dataclass(frozen=True)
class Roots:
    """The files of a glibc image and of a CLI image, and what an operator has found out about them."""

    image: Path
    cli: Path
    facts: Path


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds here: what is tried again later is tried again soon, and timeouts may be short."""
    original = supervision.set_within

    async def soon(event: asyncio.Event, seconds: float | None) -> None:
        await original(event, None if seconds is None else min(seconds, 0.01))

    monkeypatch.setattr(work_queue, "set_within", soon)
    monkeypatch.setattr("stromboli.node.ends.PAUSE", 0.01)
    monkeypatch.setattr("stromboli.plan.amounts.MIN_TIMEOUT", 0.1)
    monkeypatch.setattr("stromboli.plan.follow.AT_WORK_AFTER", 0.0)


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    image = Image(tmp_path_factory.mktemp("image"))
    for name in ("bin", "lib", "lib64"):
        image.link(f"/{name}", f"usr/{name}")
    image.file(f"{MULTIARCH}/ld-linux-x86-64.so.2", glibc_loader())
    image.link("/usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    image.file(f"{MULTIARCH}/libc.so.6", glibc_libc(), 0o644)
    image.file(f"{MULTIARCH}/libm.so.6", TinyElf(soname="libm.so.6").build(), 0o644)
    image.file("/usr/bin/dash", program(LOADER)).link("/usr/bin/sh", "dash")
    image.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
    cli = Image(tmp_path_factory.mktemp("cli"))
    cli.file("/bin/claude", b"#!/bin/sh\n")
    return Roots(image.root, cli.root, tmp_path_factory.mktemp("facts") / "cache")


def settings_in(folder: Path, node: str, socket: Path, runtime: Path) -> Settings:
    home = folder / f"home-{node}"
    home.mkdir()
    kept = busybox.path(home)
    kept.parent.mkdir()
    kept.write_bytes(b"\x7fELF, as far as this test goes")
    return Settings(home=home, runtime_dir=runtime / node, podman_socket=socket, node=node)


@asynccontextmanager
async def made_node(roots: Roots, *, known: bool = True) -> AsyncIterator[Node]:
    """A fresh machine with its images, and a cluster whose policy allows everything.

    Unless the images are `known`, the first run looks into them, which is most of its calls to Podman.
    """
    folder = Path(tempfile.mkdtemp(prefix="stromboli-unit-", dir=MEMORY))
    runtime = Path(tempfile.mkdtemp(prefix="stromboli-unit-", dir=MEMORY))
    try:
        async with FakePodman(folder / "podman.sock", served=False) as fake:
            fake.add_image(IMAGE, root=roots.image)
            fake.add_image(CLI, root=roots.cli)
            cluster = FakeCluster()
            cluster.all_policies.append(policy())
            cluster.labels[SPACE] = {}
            cluster.secrets["stromboli-system", "claude"] = {"ANTHROPIC_API_KEY": b"sk-test"}
            node = Node(folder, fake, cluster, settings_in(folder, "node-a", fake.socket, runtime))
            if known and roots.facts.exists():
                shutil.copytree(roots.facts, node.settings.home / "cache")
            fake.on_start = node.play
            yield node
            node.switch_off()
            # Of no more than the two: what else a test adds has the number of another's, and may be another image.
            if len(fake.images) == 2 and not roots.facts.exists() and (node.settings.home / "cache").exists():
                shutil.copytree(node.settings.home / "cache", roots.facts)
    finally:
        for left in (folder, runtime):
            _removed(left)


def _removed(folder: Path) -> None:
    """Remove a folder in which a thread of a killed process may be at its last call."""
    for last in (False, False, True):
        try:
            return shutil.rmtree(folder)
        except OSError:
            if last:
                raise
    return None


def policy(**spec: Any) -> Object:
    image, tag = CLI.rsplit(":", 1)
    base = {
        "images": {"allowed": ["**"]},
        "cli": {"image": image, "tag": tag, "pull": "Never"},
        "network": "none",
        "credentials": {"secretRef": {"name": "claude"}},
    }
    return {"metadata": {"name": "tests"}, "spec": {**base, **spec}}


@pytest.fixture
async def node(roots: Roots) -> AsyncIterator[Node]:
    async with made_node(roots) as made:
        yield made


@contextlib.contextmanager
def elsewhere(node: Node, name: str) -> Iterator[Settings]:
    """The settings of another operator on the same machine: a home, a runtime folder and a name of its own."""
    made = settings_in(node.folder, name, node.fake.socket, node.settings.runtime_dir.parent)
    yield made.model_copy(update={"node": name})
