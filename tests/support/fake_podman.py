"""An in-memory fake of Podman's REST API. It runs no containers. How it is reached is in `fake_podman_wire.py`.

It implements what `stromboli.podman` uses; the contract tests verify it against the real Podman. A test defines what a
container does once started (`fake.program`, `fake.end`), which images exist (`add_image`), the result of a pull
(`registry`), and which calls fail (`fail`). An image's files are a folder on disk.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import stat
import tarfile
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.support.fake_podman_state import (
    ALIVE,
    NEVER,
    FakeContainer,
    FakeImage,
    FakeState,
    Program,
    now,
    program_of_command,
)
from tests.support.fake_podman_wire import Answer, Call, Dropped, Handle, Routes, Served, Within
from tests.support.opener import DirectoryOpener

__all__ = ["FakeContainer", "FakeImage", "FakePodman", "Program", "program_of_command"]

_OWN = "/v[0-9.]+/libpod"  # Podman's own calls; the others are Docker's
_VERSION = re.compile(r"^/v[0-9.]+(/libpod)?")
_ROUTES = Routes(
    ("POST", "/v[0-9.]+/images/create", "_pull"),
    ("GET", _OWN + "/info", "_info"),
    ("POST", _OWN + "/containers/create", "_create"),
    ("GET", _OWN + "/containers/json", "_list_containers"),
    ("GET", _OWN + "/containers/showmounted", "_mounted"),
    ("POST", _OWN + "/containers/{name}/start", "_start"),
    ("POST", _OWN + "/containers/{name}/wait", "_wait"),
    ("POST", _OWN + "/containers/{name}/kill", "_kill"),
    ("POST", _OWN + "/containers/{name}/stop", "_stop"),
    ("POST", _OWN + "/containers/{name}/mount", "_mount"),
    ("GET", _OWN + "/containers/{name}/json", "_inspect_container"),
    ("GET", _OWN + "/containers/{name}/exists", "_exists"),
    ("DELETE", _OWN + "/containers/{name}", "_remove_container"),
    ("HEAD", _OWN + "/containers/{name}/archive", "_stat"),
    ("GET", _OWN + "/containers/{name}/archive", "_archive"),
    ("POST", _OWN + "/commit", "_commit"),
    ("GET", _OWN + "/images/json", "_list_images"),
    ("GET", _OWN + "/images/{name:.+}/json", "_inspect_image"),
    ("DELETE", _OWN + "/images/{name:.+}", "_remove_image"),
    ("POST", _OWN + "/{kind:volumes|networks}/create", "_create_thing"),
    ("GET", _OWN + "/{kind:volumes|networks}/json", "_list_things"),
    ("GET", _OWN + "/{kind:volumes|networks}/{name}/json", "_inspect_thing"),
    ("DELETE", _OWN + "/{kind:volumes|networks}/{name}", "_remove_thing"),
    ("GET", _OWN + "/events", "_stream_events"),
)
ENDS = {"KILL": 137, "TERM": 143}  # exit codes of programs that such a signal terminates, unless they ignore it
_GO_DIRECTORY, _GO_LINK, _GO_PIPE = 1 << 31, 1 << 27, 1 << 25


class FakePodman(FakeState):
    """A context manager. Inside the block it is reached by `within`, and unless it is not `served`, on `socket`."""

    def __init__(self, socket: Path, *, served: bool = True) -> None:
        super().__init__()
        self.socket = socket
        self._served = Served(self.answer, socket) if served else None
        self.within = Within(self.answer, self.tasks)

    async def __aenter__(self) -> Self:
        if self._served is not None:
            await self._served.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for container in self.containers.values():
            if container.timer is not None:
                container.timer.cancel()
        if self._served is not None:
            await self._served.stop()

    async def answer(self, request: Call) -> Answer:
        """What Podman would answer. Raises Dropped where a test wants the connection to break."""
        call = f"{request.method} {_VERSION.sub('', request.path)}"
        self.calls.append(call)
        failure = next((f for f in self.failures if f.left and f.call.search(call)), None)
        if failure is None:
            return await self._handled(request)
        failure.left -= 1
        if failure.after:
            await self._handled(request)
        if failure.status is None:
            raise Dropped
        return _error(failure.status, "injected by the test")

    async def _handled(self, request: Call) -> Answer:
        if (route := _ROUTES.find(request)) is None:
            return web.Response(status=404)
        name, found = route
        handle: Handle = getattr(self, name)
        return await handle(replace(request, match_info=found))

    async def _info(self, _: Call) -> web.Response:
        rows = [{"container_id": 0, "size": 1}, {"container_id": 1, "size": 65536}] if self.rootless else None
        ids = {"uidmap": rows, "gidmap": rows}
        cgroups = {"cgroupVersion": self.cgroup_version, "cgroupControllers": ["cpu", "memory", "pids"]}
        host = cgroups | {"arch": "amd64", "ociRuntime": {"name": "crun"}, "idMappings": ids}
        security = {"rootless": self.rootless}
        store = {"graphRoot": "/var/lib/containers/storage", "volumePath": "/var/lib/containers/storage/volumes"}
        sizes = {"graphRootAllocated": self.disk, "graphRootUsed": self.taken}
        return web.json_response(
            {"host": host | {"security": security}, "store": store | sizes, "version": {"Version": "4.3.1"}}
        )

    async def _create(self, request: Call) -> web.Response:
        body = await request.json()
        image = self.find_image(body["image"])
        if image is None:
            return _error(500, "image not known")
        container = FakeContainer(f"{next(self.numbers):064x}", "", body, image.id, now())
        container.name = body.get("name") or f"made_up_{container.id[-8:]}"
        if self.find(container.name) is not None:
            return _error(500, "that name is already in use")
        self.containers[container.id] = container
        for volume in body.get("volumes") or ():
            self.volumes.setdefault(volume["Name"], self.volume(volume["Name"], {}))
        await self.happen(container, "create")
        return web.json_response({"Id": container.id, "Warnings": []}, status=201)

    async def _start(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status == "running":
            return web.Response(status=304)
        if (self.root(container) / "etc/passwd").is_fifo():  # the real one opens it, and blocks
            await asyncio.Event().wait()
        container.status, container.started, container.finished = "running", now(), NEVER
        container.oom_killed, container.over = False, asyncio.Event()
        await self.happen(container, "start")
        program = self.program(container)
        if program.seconds is not None:
            loop = asyncio.get_running_loop()
            container.timer = loop.call_later(program.seconds, self.finish, container, program.exit_code)
        if self.on_start is not None:
            self.spawn(self.on_start(container))
        return web.Response(status=204)

    async def _wait(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status != "created":
            await container.over.wait()
        return web.Response(text=f"{container.exit_code}\n")

    async def _kill(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status not in ALIVE:
            return _error(500, "container state improper")
        signal = request.query.get("signal", "KILL").removeprefix("SIG")
        container.signals.append(signal)
        if signal in ENDS and signal not in self.program(container).ignores:
            self.finish(container, ENDS[signal])
        return web.Response(status=204)

    async def _stop(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status == "running":
            self.finish(container, 137)
            return web.Response(status=204)
        return web.Response(status=304)

    async def _mount(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        container.mounted = True
        return web.Response(text=str(self.root(container)))

    async def _mounted(self, _: Call) -> web.Response:
        return web.json_response({c.id: str(self.root(c)) for c in self.containers.values() if c.mounted})

    async def _exists(self, request: Call) -> web.Response:
        found = self.find(request.match_info["name"])
        return web.Response(status=204) if found is not None else _error(404, "no such container")

    async def _inspect_container(self, request: Call) -> web.Response:
        if (c := self.find(request.match_info["name"])) is None:
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
                **({"SizeRw": c.written} if request.query.get("size") == "true" else {}),
            }
        )

    async def _list_containers(self, request: Call) -> web.Response:
        return web.json_response(
            [
                {"Id": c.id, "Names": [c.name], "Labels": c.labels, "ImageID": c.image_id, "State": c.status}
                for c in self.containers.values()
                if _bears(c.labels, request)
            ]
        )

    async def _remove_container(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        if container.status in ALIVE:
            if request.query.get("force") != "true":
                return _error(500, "container state improper")
            self.finish(container, 137)
        del self.containers[container.id]
        await self.happen(container, "remove")
        return web.json_response([{"Id": container.id}])

    async def _stat(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        path = request.query["path"]
        opener = DirectoryOpener(self.root(container))
        found = await opener.stat(path)
        if found is None:
            return await _nothing_at(opener, path)
        info = (self.root(container) / found.path.lstrip("/")).stat()
        kind = {stat.S_IFDIR: _GO_DIRECTORY, stat.S_IFIFO: _GO_PIPE}.get(stat.S_IFMT(info.st_mode), 0)
        if found.path != path:  # the real one describes the link itself, and its final target
            kind |= _GO_LINK
        answer = {"name": Path(found.path).name, "size": found.size, "linkTarget": found.path}
        answer["mode"] = kind | stat.S_IMODE(info.st_mode)
        encoded = base64.b64encode(json.dumps(answer).encode()).decode()
        return web.Response(headers={"X-Docker-Container-Path-Stat": encoded})

    async def _archive(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return _error(404, "no such container")
        opener = DirectoryOpener(self.root(container))
        found = await opener.stat(request.query["path"])
        if found is None:
            return await _nothing_at(opener, request.query["path"])
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self.root(container) / found.path.lstrip("/"), Path(request.query["path"]).name)
        return web.Response(body=archive.getvalue(), content_type="application/x-tar")

    async def _commit(self, request: Call) -> web.Response:
        """The copy has the files of the container's image: the fake does not model files written in the container."""
        if (container := self.find(request.query["container"])) is None:
            return _error(404, "no such container")
        changes = [change.partition(" ") for change in request.query.get_list("changes")]
        labels = dict(text.split("=", 1) for instruction, _, text in changes if instruction == "LABEL")
        name = f"{request.query['repo']}:{request.query['tag']}"
        made = self.add_image(name, root=self.root(container), Labels=labels)
        return web.json_response({"Id": made.id}, status=201)

    async def _list_images(self, request: Call) -> web.Response:
        return web.json_response(
            [
                {"Id": i.id, "Names": i.tags, "Labels": i.config.get("Labels")}
                for i in self.images
                if _bears(i.config.get("Labels") or {}, request)
            ]
        )

    async def _remove_image(self, request: Call) -> web.Response:
        if (image := self.find_image(request.match_info["name"])) is None:
            return _error(404, "image not known")
        self.images.remove(image)
        return web.json_response({"Deleted": [image.id]})

    async def _inspect_image(self, request: Call) -> web.Response:
        if (image := self.find_image(request.match_info["name"])) is None:
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
                "Labels": image.config.get("Labels"),
                "RootFS": {"Type": "layers", "Layers": [digest]},
            }
        )

    async def _pull(self, request: Call) -> web.Response:
        reference = request.query["fromImage"]
        found = self.registry.get(reference, f"reading manifest in {reference}: manifest unknown")
        lines: list[dict[str, Any]]
        if isinstance(found, str):
            lines = [{"error": found, "errorDetail": {"message": found}}]
        else:
            self.images.append(found)
            lines = [{"id": "1", "progressDetail": {"current": n, "total": 2 << 20}} for n in (1 << 20, 2 << 20)]
        return web.Response(text="".join(f"{json.dumps(line)}\n" for line in lines))

    async def _create_thing(self, request: Call) -> web.Response:
        body, kind = await request.json(), request.match_info["kind"]
        if kind == "volumes":
            if body["Name"] in self.volumes:
                return _error(500, "volume already exists")
            self.volumes[body["Name"]] = self.volume(body["Name"], body.get("Labels") or {})
            return web.json_response(self.volumes[body["Name"]], status=201)
        if body["name"] in self.networks:
            return _error(409, "network already exists")
        self.networks[body["name"]] = {"id": f"{next(self.numbers):064x}", "subnets": []} | body
        return web.json_response(self.networks[body["name"]])

    async def _list_things(self, request: Call) -> web.Response:
        key, enough = ("Labels", any) if request.match_info["kind"] == "volumes" else ("labels", all)
        return web.json_response([t for t in self._things(request).values() if _bears(t[key], request, enough)])

    async def _inspect_thing(self, request: Call) -> web.Response:
        found = self._things(request).get(request.match_info["name"])
        return web.json_response(found) if found is not None else _error(404, "no such thing")

    async def _remove_thing(self, request: Call) -> web.Response:
        name, is_volume = request.match_info["name"], request.match_info["kind"] == "volumes"
        users = [v["Name"] for c in self.containers.values() for v in c.body.get("volumes") or ()]
        if is_volume and name in users:
            return _error(409, "volume is being used")
        if self._things(request).pop(name, None) is None:
            return _error(404, "no such thing")
        return web.Response(status=204) if is_volume else web.json_response([{"Name": name, "Err": None}])

    async def _stream_events(self, request: Call) -> AsyncGenerator[bytes, None]:
        position = 0 if "since" in request.query else len(self.events)
        return self._events(request, position)

    async def _events(self, request: Call, position: int) -> AsyncGenerator[bytes, None]:
        wanted = json.loads(request.query.get("filters", "{}"))
        while True:
            async with self.news:
                while len(self.events) <= position:
                    await self.news.wait()
            for event in self.events[position:]:
                if _wanted(event, wanted, float(request.query.get("since", 0))):
                    yield json.dumps(event).encode() + b"\n"
            position = len(self.events)

    def _things(self, request: Call) -> dict[str, dict[str, Any]]:
        return self.volumes if request.match_info["kind"] == "volumes" else self.networks

    def volume(self, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        return {"Name": name, "Labels": dict(labels), "Mountpoint": f"/nowhere/{name}/_data"}


def _error(status: int, cause: str) -> web.Response:
    return web.json_response({"cause": cause, "message": f"…: {cause}", "response": status}, status=status)


async def _nothing_at(opener: DirectoryOpener, path: str) -> web.Response:
    if await opener.is_circle(path):
        return _error(500, f"copier: stat: open {path}: too many levels of symbolic links")
    return _error(404, "no such file or directory")


def _bears(labels: Mapping[str, str], request: Call, enough: Callable[[Iterable[bool]], bool] = all) -> bool:
    """Whether the labels match the request's filter: all of them, but for volumes Podman accepts any of them."""
    own = {f"{k}={v}" for k, v in labels.items()}
    return enough(label in own for label in json.loads(request.query.get("filters", "{}")).get("label", []))


def _wanted(event: Mapping[str, Any], filters: Mapping[str, list[str]], since: float) -> bool:
    labels = {f"{k}={v}" for k, v in event["Actor"]["Attributes"].items()}
    return (
        event["Type"] in filters.get("type", [event["Type"]])
        and event["Action"] in filters.get("event", [event["Action"]])
        and labels.issuperset(filters.get("label", []))
        and event["timeNano"] >= since * 1e9
    )
