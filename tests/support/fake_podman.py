"""Podman without containers: the same REST calls, answered from memory over a real Unix socket.

As much of it as `stromboli.podman` uses, and the contract tests hold it to what the real one does. A test says
what a container does once started (`fake.program`, `fake.end`), which images there are (`add_image`), what a
pull comes to (`registry`), and which calls go wrong (`fail`). An image's files are a folder on disk.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import re
import stat
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.support.opener import DirectoryOpener

NEVER = "0001-01-01T00:00:00Z"
_PREFIX = "/{version:v[0-9.]+}/libpod"
_GO_DIRECTORY, _GO_LINK, _GO_PIPE = 1 << 31, 1 << 27, 1 << 25


@dataclass(slots=True)
class Program:
    """What a container does: ends by itself after `seconds` (None: when it is told to) with `exit_code`."""

    seconds: float | None = None
    exit_code: int = 0
    ignores: frozenset[str] = frozenset()  # signals, as `TERM`


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
    over: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.body.get("labels") or {})


@dataclass(slots=True)
class FakeImage:
    """One image; `config` has Docker's names (`User`, `Env`, …)."""

    id: str
    tags: list[str]
    root: Path
    config: dict[str, Any]
    created: str


@dataclass(slots=True)
class _Failure:
    call: re.Pattern[str]
    status: int | None
    left: int
    after: bool


class FakePodman:
    """Enter it to serve `socket`; leave it to stop. `calls` has every request so far, as `POST /containers/…`."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.rootless = False
        self.calls: list[str] = []
        self.containers: dict[str, FakeContainer] = {}
        self.images: list[FakeImage] = []
        self.volumes: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.program: Callable[[FakeContainer], Program] = program_of_command
        # Runs beside every start, where a test plays what is inside the container.
        self.on_start: Callable[[FakeContainer], Awaitable[None]] | None = None
        # What a pull of a reference comes to: an image appears, or these words of a registry.
        self.registry: dict[str, FakeImage | str] = {}
        self._failures: list[_Failure] = []
        self._events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner = web.AppRunner(self._application(), shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for container in self.containers.values():
            if container.timer is not None:
                container.timer.cancel()
        await self._runner.cleanup()
        self.socket.unlink(missing_ok=True)

    # What a test says.

    def image(self, *tags: str, root: Path, **config: Any) -> FakeImage:
        """An image that is nowhere yet: give it to `add_image` or put it into `registry`."""
        return FakeImage(f"{next(self._numbers):064x}", list(tags), root, config, _now())

    def add_image(self, *tags: str, root: Path, **config: Any) -> FakeImage:
        """An image that is on the host."""
        image = self.image(*tags, root=root, **config)
        self.images.append(image)
        return image

    def fail(self, call: str, status: int | None = 500, *, times: int = 1, after: bool = False) -> None:
        """The next calls that match the pattern answer `status`, or (None) break the connection.

        `after`: what was asked is done first, as when Podman is killed between act and answer.
        """
        self._failures.append(_Failure(re.compile(call), status, times, after))

    def end(self, name: str, exit_code: int = 0, *, oom: bool = False) -> None:
        """A running container ends now."""
        container = self._find(name)
        assert container is not None, f"no container {name}"
        self._end(container, exit_code, oom)

    # How it is served.

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        route = application.router.add_route
        route("GET", "/libpod/_ping", self._ping)
        route("POST", "/{version}/images/create", self._pull)
        for method, path, handler in (
            ("GET", "/info", self._info),
            ("POST", "/containers/create", self._create),
            ("GET", "/containers/json", self._list_containers),
            ("GET", "/containers/showmounted", self._mounted),
            ("POST", "/containers/{name}/start", self._start),
            ("POST", "/containers/{name}/wait", self._wait),
            ("POST", "/containers/{name}/kill", self._kill),
            ("POST", "/containers/{name}/mount", self._mount),
            ("GET", "/containers/{name}/json", self._inspect_container),
            ("GET", "/containers/{name}/exists", self._exists),
            ("DELETE", "/containers/{name}", self._remove_container),
            ("HEAD", "/containers/{name}/archive", self._stat),
            ("GET", "/containers/{name}/archive", self._archive),
            ("GET", "/images/{name:.+}/json", self._inspect_image),
            ("POST", "/{kind:volumes|networks}/create", self._create_thing),
            ("GET", "/{kind:volumes|networks}/json", self._list_things),
            ("GET", "/{kind:volumes|networks}/{name}/json", self._inspect_thing),
            ("DELETE", "/{kind:volumes|networks}/{name}", self._remove_thing),
            ("GET", "/events", self._stream_events),
        ):
            route(method, _PREFIX + path, handler)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        call = f"{request.method} {re.sub(r'^/v[0-9.]+(/libpod)?', '', request.path)}"
        self.calls.append(call)
        failure = next((f for f in self._failures if f.left and f.call.search(call)), None)
        if failure is None:
            return await handler(request)
        failure.left -= 1
        if failure.after:
            await handler(request)
        if failure.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return _error(failure.status, "as the test has it")

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Libpod-API-Version": "4.3.1"})

    async def _info(self, _: web.Request) -> web.Response:
        host = {"arch": "amd64", "cgroupVersion": "v2", "ociRuntime": {"name": "crun"}}
        security = {"rootless": self.rootless}
        store = {"graphRoot": "/var/lib/containers/storage", "volumePath": "/var/lib/containers/storage/volumes"}
        return web.json_response(
            {"host": host | {"security": security}, "store": store, "version": {"Version": "4.3.1"}}
        )

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        image = self._find_image(body["image"])
        if image is None:
            return _error(500, "image not known")
        container = FakeContainer(f"{next(self._numbers):064x}", "", body, image.id, _now())
        container.name = body.get("name") or f"made_up_{container.id[-8:]}"
        if self._find(container.name) is not None:
            return _error(500, "that name is already in use")
        self.containers[container.id] = container
        for volume in body.get("volumes") or ():
            self.volumes.setdefault(volume["Name"], self._volume(volume["Name"], {}))
        await self._happen(container, "create")
        return web.json_response({"Id": container.id, "Warnings": []}, status=201)

    async def _start(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status == "running":
            return web.Response(status=304)
        container.status, container.started, container.finished = "running", _now(), NEVER
        container.oom_killed, container.over = False, asyncio.Event()
        await self._happen(container, "start")
        program = self.program(container)
        if program.seconds is not None:
            loop = asyncio.get_running_loop()
            container.timer = loop.call_later(program.seconds, self._end, container, program.exit_code)
        if self.on_start is not None:
            self._spawn(self.on_start(container))
        return web.Response(status=204)

    async def _wait(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status != "created":
            await container.over.wait()
        return web.Response(text=f"{container.exit_code}\n")

    async def _kill(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status != "running":
            return _error(500, "container state improper")
        signal = request.query.get("signal", "KILL").removeprefix("SIG")
        if signal not in self.program(container).ignores:
            self._end(container, {"KILL": 137, "TERM": 143}[signal])
        return web.Response(status=204)

    async def _mount(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        container.mounted = True
        return web.Response(text=str(self._root(container)))

    async def _mounted(self, _: web.Request) -> web.Response:
        return web.json_response({c.id: str(self._root(c)) for c in self.containers.values() if c.mounted})

    async def _exists(self, request: web.Request) -> web.Response:
        found = self._find(request.match_info["name"])
        return web.Response(status=204) if found is not None else _error(404, "no such container")

    async def _inspect_container(self, request: web.Request) -> web.Response:
        if (c := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        running = c.status == "running"
        state = {"Status": c.status, "Running": running, "ExitCode": c.exit_code, "OOMKilled": c.oom_killed}
        state |= {"StartedAt": c.started, "FinishedAt": c.finished, "Pid": 4242 if running else 0, "Error": ""}
        return web.json_response(
            {
                "Id": c.id,
                "Name": c.name,
                "Image": c.image_id,
                "Created": c.created,
                "Config": {"Labels": c.labels or None},
                "State": state,
            }
        )

    async def _list_containers(self, request: web.Request) -> web.Response:
        return web.json_response(
            [
                {"Id": c.id, "Names": [c.name], "Labels": c.labels, "ImageID": c.image_id, "State": c.status}
                for c in self.containers.values()
                if _bears(c.labels, request)
            ]
        )

    async def _remove_container(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status == "running":
            if request.query.get("force") != "true":
                return _error(500, "container state improper")
            self._end(container, 137)
        del self.containers[container.id]
        await self._happen(container, "remove")
        return web.json_response([{"Id": container.id}])

    async def _stat(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        path = request.query["path"]
        found = await DirectoryOpener(self._root(container)).stat(path)
        if found is None:
            return _error(404, "no such file or directory")
        info = (self._root(container) / found.path.lstrip("/")).stat()
        kind = {stat.S_IFDIR: _GO_DIRECTORY, stat.S_IFIFO: _GO_PIPE}.get(stat.S_IFMT(info.st_mode), 0)
        if found.path != path:  # the real one tells of a link itself, and where it ends
            kind |= _GO_LINK
        answer = {"name": Path(found.path).name, "size": found.size, "linkTarget": found.path}
        answer["mode"] = kind | stat.S_IMODE(info.st_mode)
        encoded = base64.b64encode(json.dumps(answer).encode()).decode()
        return web.Response(headers={"X-Docker-Container-Path-Stat": encoded})

    async def _archive(self, request: web.Request) -> web.Response:
        if (container := self._find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        found = await DirectoryOpener(self._root(container)).stat(request.query["path"])
        if found is None:
            return _error(404, "no such file or directory")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self._root(container) / found.path.lstrip("/"), Path(request.query["path"]).name)
        return web.Response(body=archive.getvalue(), content_type="application/x-tar")

    async def _inspect_image(self, request: web.Request) -> web.Response:
        if (image := self._find_image(request.match_info["name"])) is None:
            return _error(404, "image not known")
        digest = f"sha256:{image.id}"
        return web.json_response(
            {
                "Id": image.id,
                "Digest": digest,
                "RepoTags": image.tags,
                "RepoDigests": [f"{tag.rpartition(':')[0]}@{digest}" for tag in image.tags],
                "Architecture": "amd64",
                "Os": "linux",
                "Size": 1,
                "Created": image.created,
                "Config": image.config,
            }
        )

    async def _pull(self, request: web.Request) -> web.Response:
        reference = request.query["fromImage"]
        found = self.registry.get(reference, f"reading manifest in {reference}: manifest unknown")
        lines: list[dict[str, Any]]
        if isinstance(found, str):
            lines = [{"error": found, "errorDetail": {"message": found}}]
        else:
            self.images.append(found)
            lines = [{"id": "1", "progressDetail": {"current": n, "total": 2 << 20}} for n in (1 << 20, 2 << 20)]
        return web.Response(text="".join(f"{json.dumps(line)}\n" for line in lines))

    async def _create_thing(self, request: web.Request) -> web.Response:
        body, kind = await request.json(), request.match_info["kind"]
        if kind == "volumes":
            if body["Name"] in self.volumes:
                return _error(500, "volume already exists")
            self.volumes[body["Name"]] = self._volume(body["Name"], body.get("Labels") or {})
            return web.json_response(self.volumes[body["Name"]], status=201)
        if body["name"] in self.networks:
            return _error(409, "network already exists")
        self.networks[body["name"]] = {"id": f"{next(self._numbers):064x}", "subnets": []} | body
        return web.json_response(self.networks[body["name"]])

    async def _list_things(self, request: web.Request) -> web.Response:
        key = "Labels" if request.match_info["kind"] == "volumes" else "labels"
        return web.json_response([t for t in self._things(request).values() if _bears(t[key], request)])

    async def _inspect_thing(self, request: web.Request) -> web.Response:
        found = self._things(request).get(request.match_info["name"])
        return web.json_response(found) if found is not None else _error(404, "no such thing")

    async def _remove_thing(self, request: web.Request) -> web.Response:
        name, is_volume = request.match_info["name"], request.match_info["kind"] == "volumes"
        users = [v["Name"] for c in self.containers.values() for v in c.body.get("volumes") or ()]
        if is_volume and name in users:
            return _error(409, "volume is being used")
        if self._things(request).pop(name, None) is None:
            return _error(404, "no such thing")
        return web.Response(status=204) if is_volume else web.json_response([{"Name": name, "Err": None}])

    async def _stream_events(self, request: web.Request) -> web.StreamResponse:
        wanted = json.loads(request.query.get("filters", "{}"))
        position = 0 if "since" in request.query else len(self._events)
        response: web.StreamResponse | None = None
        while True:
            async with self._news:
                await self._news.wait_for(lambda: len(self._events) > position)
            for event in self._events[position:]:
                if _wanted(event, wanted, float(request.query.get("since", 0))):
                    if response is None:  # headers come with the first event, as Podman's do
                        response = web.StreamResponse()
                        await response.prepare(request)
                    await response.write(json.dumps(event).encode() + b"\n")
            position = len(self._events)

    def _things(self, request: web.Request) -> dict[str, dict[str, Any]]:
        return self.volumes if request.match_info["kind"] == "volumes" else self.networks

    def _volume(self, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        return {"Name": name, "Labels": dict(labels), "Mountpoint": f"/nowhere/{name}/_data"}

    def _find(self, name: str) -> FakeContainer | None:
        return next((c for c in self.containers.values() if name in (c.id, c.name)), None)

    def _find_image(self, name: str) -> FakeImage | None:
        known = (i for i in self.images if name == i.id or name in i.tags or name.endswith(f"@sha256:{i.id}"))
        return next(known, None)

    def _root(self, container: FakeContainer) -> Path:
        return next(image.root for image in self.images if image.id == container.image_id)

    def _end(self, container: FakeContainer, exit_code: int, oom: bool = False) -> None:
        if container.status != "running":
            return
        if container.timer is not None:
            container.timer.cancel()
        container.status, container.exit_code, container.oom_killed = "exited", exit_code, oom
        container.finished = _now()
        container.over.set()
        self._spawn(self._happen(container, "died", {"containerExitCode": str(exit_code)}))

    async def _happen(self, container: FakeContainer, action: str, more: Mapping[str, str] | None = None) -> None:
        attributes = container.labels | {"name": container.name, **(more or {})}
        actor = {"ID": container.id, "Attributes": attributes}
        nanoseconds = int(datetime.now(UTC).timestamp() * 1e9)
        async with self._news:
            self._events.append({"Type": "container", "Action": action, "Actor": actor, "timeNano": nanoseconds})
            self._news.notify_all()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def program_of_command(container: FakeContainer) -> Program:
    """What the contract tests' commands do: `sleep N`, `true`, `sh -c "exit N"`; all else runs until it is told."""
    command = list(container.body.get("entrypoint") or []) + list(container.body.get("command") or [])
    match command:
        case ["sleep", seconds]:
            return Program(float(seconds), ignores=frozenset({"TERM"}))  # PID 1 without a handler
        case ["true"]:
            return Program(0.0)
        case ["sh", "-c", script] if found := re.fullmatch(r"exit (\d+)", script):
            return Program(0.0, int(found[1]))
        case _:
            return Program()


def _error(status: int, cause: str) -> web.Response:
    return web.json_response({"cause": cause, "message": f"…: {cause}", "response": status}, status=status)


def _bears(labels: Mapping[str, str], request: web.Request) -> bool:
    wanted = json.loads(request.query.get("filters", "{}")).get("label", [])
    return {f"{k}={v}" for k, v in labels.items()}.issuperset(wanted)


def _wanted(event: Mapping[str, Any], filters: Mapping[str, list[str]], since: float) -> bool:
    labels = {f"{k}={v}" for k, v in event["Actor"]["Attributes"].items()}
    return (
        event["Type"] in filters.get("type", [event["Type"]])
        and event["Action"] in filters.get("event", [event["Action"]])
        and labels.issuperset(filters.get("label", []))
        and event["timeNano"] >= since * 1e9
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
