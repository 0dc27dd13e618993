"""Containers: create, start, wait, look, end, remove, mount. Who owns which is not judged here.

A container is named by its id or its name. An end is learnt from `wait`, the truth from `inspect`: `list` does
not look at processes and may still call a container running whose host crashed.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import Connection, label_filter, segment
from stromboli.podman.failures import answer, reading, refusal
from stromboli.podman.times import moment

_ENDED = ("stopped", "exited")  # "stopped" until Podman's own clean-up process has been there
_ALIVE = ("running", "paused", "stopping", "removing")
_STARTING = 120.0  # seconds; a start on a loaded machine, with a network to set up
_REMOVING = 300.0  # seconds; deleting a large writable layer
# Seconds between looks once the end is said to be near: the first, the longest, and how they grow, since a look
# costs Podman 3 ms of a core and whoever said so may be wrong.
_UNHURRIED = 5.0  # seconds between looks before that
_HURRIED, _SLOWEST, _GROWTH = 0.005, 1.0, 1.3


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One inspected container. `exit_code` and `finished_at` are None unless it ended after its last start. One that
    is paused does not count as `running`.

    `oom_killed` can be False wrongly: with cgroups v1 on a recent kernel conmon is not told (4.3.1 on 6.18, while
    the container's own cgroup counts an `oom_kill`).
    """

    id: str
    name: str
    labels: Mapping[str, str]
    image_id: str
    status: str  # created | initialized | running | paused | stopping | stopped | exited | removing
    running: bool
    exit_code: int | None
    oom_killed: bool
    started_at: datetime | None
    finished_at: datetime | None
    pid: int
    error: str

    @property
    def alive(self) -> bool:
        """Whether a process of it may still do something, now or once it is thawed."""
        return self.status in _ALIVE


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One line of a list. `status` is what Podman last wrote down."""

    id: str
    name: str
    labels: Mapping[str, str]
    image_id: str
    status: str


class Containers:
    """The containers of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, body: Mapping[str, object]) -> str:
        """Create a container from libpod's SpecGenerator; returns its id.

        Podman ignores fields that it does not know. A missing image raises `NotFound`; a name that is taken
        raises `PodmanError`: inspect by name, then judge whose it is.
        """
        response = await self._connection.request("POST", "/containers/create", body=dict(body), silence=_STARTING)
        with reading("a new container"):
            return str(answer(response.content)["Id"])

    async def start(self, container: str) -> bool:
        """Start it; False where it was running already."""
        response = await self._connection.request("POST", f"{_path(container)}/start", silence=_STARTING)
        return response.status_code != 304

    async def wait(self, container: str, interval: float = 0.02, hurry: asyncio.Event | None = None) -> int:
        """Until the container has ended: its exit code. One that never started answers 0 at once.

        One that was ended by the `timeout` of its own body answers -1.

        `interval` (seconds) is how often Podman looks: at 0.02 eight waits cost it 4 % of a core, and less is no
        quicker. Podman answers only after its clean-up process, some 40 to 70 ms after the end. `hurry`, set by a
        caller that knows the end is near, has us look by ourselves, at first every 5 ms, and saves most of that. We
        look now and then in any case: where its clean-up process does not come, Podman waits for it for 20 s.
        """
        waiting = asyncio.create_task(self._wait(container, interval))
        tasks = [waiting, asyncio.create_task(self._look(container, hurry or asyncio.Event()))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return (waiting if waiting in done else done.pop()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def attached(self, container: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """What its first process writes to standard output, until a millisecond after that process's end.

        Only for one that is about to be started: attaching makes it ready, also one that has ended (see `stop`).
        Without an Upgrade header Podman answers with an ordinary stream.
        """
        url, params = f"{_path(container)}/attach", {"stream": "true", "stdout": "true"}
        async with self._connection.stream("POST", url, params=params) as response:
            yield response.aiter_raw()

    async def inspect(self, container: str) -> ContainerState | None:
        """What it is and how it is; None only where Podman says that there is none."""
        try:
            response = await self._connection.request("GET", f"{_path(container)}/json")
        except NotFound:
            return None
        with reading("a container"):
            return _state(answer(response.content))

    async def kill(self, container: str, signal: str = "KILL") -> bool:
        """Send a signal (`TERM`, `USR1`, or `KILL`, which ends a paused one as well); False where it is not running or
        not there, so that none is needed.
        """
        try:
            await self._connection.request("POST", f"{_path(container)}/kill", params={"signal": signal})
        except PodmanError:
            # 500 for a container that is not running, as for everything else: look instead of reading words.
            state = await self.inspect(container)
            if state is None or not state.alive:
                return False
            raise
        return True

    async def stop(self, container: str) -> bool:
        """End it at once, and also put back one that was made ready and not started; False if it is gone.

        What was made ready (`initialized`) has its binds resolved already, and would start with those.
        """
        try:
            await self._connection.request("POST", f"{_path(container)}/stop", params={"timeout": "0"})
        except NotFound:
            return False
        return True

    async def size(self, container: str) -> int:
        """Bytes that were written in its filesystem, beyond its image; Podman walks all of it. Raises NotFound."""
        params = {"size": "true"}
        response = await self._connection.request("GET", f"{_path(container)}/json", params=params, silence=_REMOVING)
        with reading("a container's size"):
            return int(answer(response.content).get("SizeRw") or 0)

    async def remove(self, container: str, *, force: bool = True, volumes: bool = True) -> bool:
        """Remove it and its anonymous volumes; by `force` also while it runs (KILL at once). False if it is gone."""
        params = {"force": _flag(force), "v": _flag(volumes), "timeout": "0"}
        try:
            response = await self._connection.request("DELETE", _path(container), params=params, silence=_REMOVING)
            _raise_inner(response.content, f"DELETE {_path(container)}")
        except NotFound:
            return False
        except PodmanError:
            if await self.inspect(container) is None:  # somebody else was quicker
                return False
            raise
        return True

    async def list(self, labels: Mapping[str, str]) -> list[ContainerSummary]:
        """All containers, running or not, that bear all of these labels."""
        params = {"all": "true", "filters": label_filter(labels)}
        response = await self._connection.request("GET", "/containers/json", params=params)
        with reading("its containers"):
            return [_summary(entry) for entry in answer(response.content) or []]

    async def mount(self, container: str) -> str:
        """Mount its filesystem on the host, without starting it; the path, the same on every call."""
        response = await self._connection.request("POST", f"{_path(container)}/mount")
        return response.text.strip().strip('"')  # plain text from 4.3.1, a JSON string from others

    async def mounted(self) -> dict[str, str]:
        """Ids of the containers that are mounted now, each with its path."""
        response = await self._connection.request("GET", "/containers/showmounted")
        with reading("its mounts"):
            return {str(container): str(path) for container, path in (answer(response.content) or {}).items()}

    async def _wait(self, container: str, interval: float) -> int:
        params = {"interval": f"{max(1, round(interval * 1000))}ms"}
        response = await self._connection.request("POST", f"{_path(container)}/wait", params=params, silence=None)
        with reading("an exit code"):
            return int(response.text)

    async def _look(self, container: str, hurry: asyncio.Event) -> int:
        pause = _HURRIED
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_UNHURRIED):
                    await hurry.wait()
            state = await self.inspect(container)
            if state is None:
                raise NotFound(f"container {container} was removed while it was waited for", 404)
            if state.exit_code is not None:
                return state.exit_code
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, _SLOWEST)


def _state(entry: Mapping[str, Any]) -> ContainerState:
    state = entry["State"]
    started = moment(state["StartedAt"])
    ended = state["Status"] in _ENDED and started is not None
    return ContainerState(
        id=entry["Id"],
        name=entry["Name"],
        labels=dict(entry["Config"]["Labels"] or {}),
        image_id=entry["Image"],
        status=state["Status"],
        running=state["Running"],
        exit_code=int(state["ExitCode"]) if ended else None,
        oom_killed=state["OOMKilled"],
        started_at=started,
        finished_at=moment(state["FinishedAt"]) if ended else None,
        pid=state["Pid"],
        error=state["Error"],
    )


def _summary(entry: Mapping[str, Any]) -> ContainerSummary:
    return ContainerSummary(
        id=entry["Id"],
        name=entry["Names"][0],
        labels=dict(entry["Labels"] or {}),
        image_id=entry["ImageID"],
        status=entry["State"],
    )


def _raise_inner(content: bytes, doing: str) -> None:
    """A removal that failed may be HTTP 200, with the error in its report."""
    with reading("a removal"):
        reports: builtins.list[Any] = answer(content) if content.strip() else []
        texts = [str(report["Err"]) for report in reports or [] if report.get("Err")]
    if texts:
        raise refusal(200, texts[0].encode(), doing)


def _path(container: str) -> str:
    return f"/containers/{segment(container)}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
