"""Containers: create, init, start, wait, inspect, stop, remove, mount. Ownership is not checked here.

A container is addressed by id or name. Use `wait` to learn of its end and `inspect` for its actual state: `list`
does not look at processes and, after a crash of the host, may still report a container as running.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import Connection, label_filter, segment
from stromboli.podman.container_detail import ContainerDetail, detail
from stromboli.podman.container_state import ContainerState
from stromboli.podman.failures import answer, reading, refusal
from stromboli.podman.times import moment

_ENDED = ("stopped", "exited")  # "stopped" until Podman's own cleanup process has run
_STARTING = 120.0  # seconds; a start on a loaded machine, including network setup
_REMOVING = 300.0  # seconds; deleting a large writable layer
_AGAIN = (0.02, 0.1, 0.5)  # seconds between tries to stop or remove a container that has just ended
_POLL_IDLE = 5.0  # seconds between our own polls until a container is about to end
# From then on: the first interval, the longest (both in seconds), and their growth. A poll costs Podman 3 ms of a
# core, and the hint that the end is near may be wrong.
_POLL_FIRST, _POLL_LONGEST, _POLL_GROWTH = 0.005, 1.0, 1.3


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One entry of a list. `status` is the one that Podman last recorded."""

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

        Podman ignores fields that it does not know. A missing image raises `NotFound`. A name that is in use raises
        `PodmanError`: inspect by name to see whose it is.
        """
        response = await self._connection.request("POST", "/containers/create", body=dict(body), silence=_STARTING)
        with reading("a new container"):
            return str(answer(response.content)["Id"])

    async def init(self, container: str) -> bool:
        """Do all of a start but the start: mounts, network and processes; False if it is initialized or runs.

        That is most of the work: after it, a start takes 12 ms (4.3.1). To undo it, `stop` it. Podman's own clean-up
        after an earlier end of the container may undo it too: see node/cleanups.py.
        """
        response = await self._connection.request("POST", f"{_path(container)}/init", silence=_STARTING)
        return response.status != 304

    async def start(self, container: str) -> bool:
        """Start it; False if it was already running."""
        response = await self._connection.request("POST", f"{_path(container)}/start", silence=_STARTING)
        return response.status != 304

    async def wait(self, container: str, interval: float = 0.02, hurry: asyncio.Event | None = None) -> int:
        """Wait until the container has ended; returns its exit code.

        The exit code is 0, at once, for a container that was never started, and -1 for one that was ended by the
        `timeout` in its own create body.

        `interval` (seconds) is Podman's polling interval: at 0.02, eight waits cost it 4 % of a core, and shorter
        intervals are no faster. Podman answers only after its cleanup process, some 40 to 70 ms after the end. Set
        `hurry` when the end is near: we then poll ourselves, at first every 5 ms, which saves most of that. We also
        poll occasionally without it, since Podman waits 20 s for a cleanup process that never comes.
        """
        waiting = asyncio.create_task(self._wait(container, interval))
        tasks = [waiting, asyncio.create_task(self._poll(container, hurry or asyncio.Event()))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return (waiting if waiting in done else done.pop()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def attached(self, container: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The standard output of its first process, until about a millisecond after that process has ended.

        Use it only just before a start: attaching initializes the container, even one that has ended (see `stop`).
        Without an Upgrade header, Podman answers with an ordinary stream.
        """
        url, params = f"{_path(container)}/attach", {"stream": "true", "stdout": "true"}
        async with self._connection.stream("POST", url, params=params) as response:
            yield response.chunks

    async def inspect(self, container: str) -> ContainerState | None:
        """Its configuration and state; None only if Podman says that it does not exist."""
        try:
            response = await self._connection.request("GET", f"{_path(container)}/json")
        except NotFound:
            return None
        with reading("a container"):
            return _state(answer(response.content))

    async def detail(self, container: str) -> ContainerDetail | None:
        """Its state, image, mounts and addresses; None only if Podman says that it does not exist."""
        try:
            response = await self._connection.request("GET", f"{_path(container)}/json")
        except NotFound:
            return None
        with reading("a container"):
            entry = answer(response.content)
            return detail(entry, _state(entry))

    async def kill(self, container: str, signal: str = "KILL") -> bool:
        """Send a signal (`TERM`, `USR1`, or `KILL`, which also ends a paused container).

        False if it is not running or does not exist.
        """
        try:
            await self._connection.request("POST", f"{_path(container)}/kill", params={"signal": signal})
        except PodmanError:
            # 500 for a container that is not running, as for any failure: inspect instead of parsing the message.
            state = await self.inspect(container)
            if state is None or not state.alive:
                return False
            raise
        return True

    async def stop(self, container: str, grace: int = 0) -> bool:
        """Stop it, or undo the initialization of one that was not started; False if it is gone.

        It gets its own stop signal and, after `grace` seconds, KILL; without a grace, KILL at once. An `initialized`
        container has already resolved its bind mounts and would start with those.
        """
        params, silence = {"timeout": str(grace)}, _STARTING + grace
        return await self._despite_its_end(
            container, "POST", f"{_path(container)}/stop", params=params, silence=silence
        )

    async def size(self, container: str) -> int:
        """Size of its writable layer in bytes; Podman walks the whole layer. Raises NotFound."""
        params = {"size": "true"}
        response = await self._connection.request("GET", f"{_path(container)}/json", params=params, silence=_REMOVING)
        with reading("a container's size"):
            return int(answer(response.content).get("SizeRw") or 0)

    async def remove(self, container: str, *, force: bool = True, volumes: bool = True) -> bool:
        """Remove it and its anonymous volumes; with `force`, even while it runs (KILL at once). False if it is gone."""
        # libpod reads `volumes` and ignores `v`, which its documentation names (4.3.1).
        params = {"force": _flag(force), "v": _flag(volumes), "volumes": _flag(volumes), "timeout": "0"}
        return await self._despite_its_end(container, "DELETE", _path(container), params=params, silence=_REMOVING)

    async def list(self, labels: Mapping[str, str]) -> list[ContainerSummary]:
        """All containers, running or not, that have all of these labels."""
        params = {"all": "true", "filters": label_filter(labels)}
        response = await self._connection.request("GET", "/containers/json", params=params)
        with reading("its containers"):
            return [_summary(entry) for entry in answer(response.content) or []]

    async def mount(self, container: str) -> str:
        """Mount its filesystem on the host without starting it; returns the path, the same on every call."""
        response = await self._connection.request("POST", f"{_path(container)}/mount")
        return response.text.strip().strip('"')  # plain text from 4.3.1, a JSON string from other versions

    async def mounted(self) -> dict[str, str]:
        """The containers that are mounted now: id → path on the host."""
        response = await self._connection.request("GET", "/containers/showmounted")
        with reading("its mounts"):
            return {str(container): str(path) for container, path in (answer(response.content) or {}).items()}

    async def _despite_its_end(self, container: str, method: str, path: str, **options: Any) -> bool:
        """Make a call that ends a container; False if it is gone.

        Podman refuses if the container ends by itself at that moment ("could not be stopped: … container state
        improper", containers/podman#16142), or if another client removes it. Its state decides, not the message: if
        it has ended, we repeat the call.
        """
        pauses = iter(_AGAIN)
        while True:
            try:
                response = await self._connection.request(method, path, **options)
                _raise_inner(response.content, f"{method} {path}")
                return True
            except NotFound:
                return False
            except PodmanError:
                state = await self.inspect(container)
                if state is None:
                    return False
                pause = next(pauses, None)
                if state.alive or pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _wait(self, container: str, interval: float) -> int:
        params = {"interval": f"{max(1, round(interval * 1000))}ms"}
        response = await self._connection.request("POST", f"{_path(container)}/wait", params=params, silence=None)
        with reading("an exit code"):
            return int(response.text)

    async def _poll(self, container: str, hurry: asyncio.Event) -> int:
        pause = _POLL_FIRST
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_IDLE):
                    await hurry.wait()
            state = await self.inspect(container)
            if state is None:
                raise NotFound(f"container {container} was removed while waiting for its end", 404)
            if state.exit_code is not None:
                return state.exit_code
            await asyncio.sleep(pause)
            pause = min(pause * _POLL_GROWTH, _POLL_LONGEST)


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
    """Raise the error of a failed removal that Podman reports inside an HTTP 200 response."""
    with reading("a removal"):
        reports: builtins.list[Any] = answer(content) if content.strip() else []
        texts = [str(report["Err"]) for report in reports or [] if report.get("Err")]
    if texts:
        raise refusal(200, texts[0].encode(), doing)


def _path(container: str) -> str:
    return f"/containers/{segment(container)}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
