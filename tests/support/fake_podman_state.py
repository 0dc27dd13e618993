"""The state of the fake Podman, and the methods by which tests control it. Serving it is in `fake_podman.py`."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ALIVE = ("running", "paused")
NEVER = "0001-01-01T00:00:00Z"


@dataclass(slots=True)
class Program:
    """A container's behaviour: it writes, and exits after `seconds` (None: only when stopped) with `exit_code`."""

    seconds: float | None = None
    exit_code: int = 0
    stopped: int = 143  # the exit code with which its stop signal ends it
    output: bytes = b""
    ignores: frozenset[str] = frozenset()  # signals, such as `TERM`


@dataclass(slots=True)
class FakeContainer:
    """One container; `body` is what it was created from."""

    id: str
    name: str
    body: dict[str, Any]
    image_id: str
    created: str
    status: str = "created"
    exit_code: int = 0
    oom_killed: bool = False
    started: str = NEVER
    finished: str = NEVER
    mounted: bool = False
    log: bytes = b""
    folders: set[str] = field(default_factory=set)  # those that were made in it
    anonymous: set[str] = field(default_factory=set)  # volumes that came with it
    written: int = 0  # bytes in its writable layer
    root: Path | None = None  # its own files, if they differ from its image's
    over: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    signals: list[str] = field(default_factory=list)  # the signals it was sent

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.body.get("labels") or {})


@dataclass(slots=True)
class FakeImage:
    """One image; `config` has Docker's names (`User`, `Env`, …). `digests` are further ones of its manifest, `history`
    the instructions that it was built by.
    """

    id: str
    tags: list[str]
    root: Path
    config: dict[str, Any]
    created: str
    layers: int = 1
    digests: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Failure:
    call: re.Pattern[str]
    status: int | None
    left: int
    after: bool
    says: str


class FakeState:
    """Containers, images, volumes and networks in memory; `calls` are all requests so far."""

    def __init__(self) -> None:
        self.rootless = False
        self.cgroup_version = "v2"
        self.disk = 100 * 10**9  # size in bytes of the file system with Podman's storage; `taken` are the used bytes
        self.taken = 10**9
        self.calls: list[str] = []
        self.containers: dict[str, FakeContainer] = {}
        self.images: list[FakeImage] = []
        self.volumes: dict[str, dict[str, Any]] = {}
        # The files of volumes, by name, for those of which a test asks for files.
        self.volume_files: dict[str, Path] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.program: Callable[[FakeContainer], Program] = program_of_command
        # Runs concurrently with every started container: here a test acts as the program in the container.
        self.on_start: Callable[[FakeContainer], Awaitable[None]] | None = None
        # The result of pulling a reference: an image that is added, an index of them by platform (`linux/amd64`), or an
        # error message of the registry. Of those in `stalled` half a layer comes, and then nothing.
        self.registry: dict[str, FakeImage | dict[str, FakeImage] | str] = {}
        self.stalled: set[str] = set()
        # The logins of which a pull has to have one in its header, by registry; and what a search of a registry finds:
        # a list of rows, an error message, or None for one that never answers.
        self.logins: dict[str, list[dict[str, str]]] = {}
        self.searched: dict[str, list[dict[str, Any]] | str | None] = {}
        self.registries_conf: dict[str, Any] = {"search": ["docker.io"]}
        self.failures: list[Failure] = []
        self.events: list[dict[str, Any]] = []
        self.news = asyncio.Condition()
        self.numbers = itertools.count(1)
        self.tasks: set[asyncio.Task[None]] = set()

    def image(self, *tags: str, root: Path, **config: Any) -> FakeImage:
        """A new image that is not on the host yet, for `registry`."""
        return FakeImage(f"{next(self.numbers):064x}", list(tags), root, config, now())

    def add_image(self, *tags: str, root: Path, **config: Any) -> FakeImage:
        """Add an image to the host."""
        image = self.image(*tags, root=root, **config)
        self.images.append(image)
        return image

    def fail(
        self,
        call: str,
        status: int | None = 500,
        *,
        times: int = 1,
        after: bool = False,
        says: str = "injected by the test",
    ) -> None:
        """Make the next calls that match the pattern answer `status`, or (None) drop the connection.

        `after`: the call takes effect first, as if Podman were killed between the effect and the response.
        """
        self.failures.append(Failure(re.compile(call), status, times, after, says))

    def end(self, name: str, exit_code: int = 0, *, oom: bool = False) -> None:
        """Make a running container exit now."""
        container = self.find(name)
        assert container is not None, f"no container {name}"
        self.finish(container, exit_code, oom)

    def find(self, name: str) -> FakeContainer | None:
        return next((c for c in self.containers.values() if name in (c.id, c.name)), None)

    def find_image(self, name: str) -> FakeImage | None:
        known = (i for i in self.images if name == i.id or name in i.tags or name.endswith(f"@sha256:{i.id}"))
        return next(known, None)

    def root(self, container: FakeContainer) -> Path:
        return container.root or next(image.root for image in self.images if image.id == container.image_id)

    def holder(self, container: FakeContainer) -> FakeContainer | None:
        """The container whose network namespace it is in."""
        netns = container.body.get("netns") or {}
        return self.find(netns["value"]) if netns.get("nsmode") == "container" else None

    def finish(self, container: FakeContainer, exit_code: int, oom: bool = False) -> None:
        if container.status not in ALIVE:
            return
        if container.timer is not None:
            container.timer.cancel()
        container.status, container.exit_code, container.oom_killed = "exited", exit_code, oom
        container.finished = now()
        container.over.set()
        self.spawn(self.happen(container, "died", {"containerExitCode": str(exit_code)}))

    async def happen(self, container: FakeContainer, action: str, more: Mapping[str, str] | None = None) -> None:
        attributes = container.labels | {"name": container.name, **(more or {})}
        actor = {"ID": container.id, "Attributes": attributes}
        nanoseconds = int(datetime.now(UTC).timestamp() * 1e9)
        async with self.news:
            self.events.append({"Type": "container", "Action": action, "Actor": actor, "timeNano": nanoseconds})
            self.news.notify_all()

    def spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def program_of_command(container: FakeContainer) -> Program:
    """The behaviour of the contract tests' commands: `sleep N`, `true`, `sh -c "exit N"`, busybox's touch, and that of
    the helper that copies a volume; others run until stopped.
    """
    command = list(container.body.get("entrypoint") or []) + list(container.body.get("command") or [])
    match command:
        case ["/bin/busybox", "touch", _] | [_, "sh", "-c", _, "copy", *_]:
            return Program(0.0)
        case ["sleep", seconds]:
            return Program(float(seconds), ignores=frozenset({"TERM"}))  # PID 1 without a handler
        case ["true"]:
            return Program(0.0)
        case ["sh", "-c", script] if found := re.fullmatch(r"(?:echo (\w+); )?exit (\d+)", script):
            return Program(0.0, int(found[2]), output=f"{found[1]}\n".encode() if found[1] else b"")
        case _:
            return Program()


def now() -> str:
    return datetime.now(UTC).isoformat()
