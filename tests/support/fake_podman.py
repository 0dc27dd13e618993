"""An in-memory fake of Podman's REST API. It runs no containers. How it is reached is in `fake_podman_wire.py`.

It implements what `stromboli.podman` uses; the contract tests verify it against the real Podman. A test defines what a
container does once started (`fake.program`, `fake.end`), which images exist (`add_image`), the result of a pull
(`registry`), and which calls fail (`fail`). An image's files are a folder on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.support.fake_podman_builds import Built, FakeBuilds
from tests.support.fake_podman_detail import FakeDetail
from tests.support.fake_podman_execs import Command, FakeExecs
from tests.support.fake_podman_files import FakeFiles
from tests.support.fake_podman_images import bears, error
from tests.support.fake_podman_state import (
    ALIVE,
    NEVER,
    FakeContainer,
    FakeImage,
    Program,
    now,
    program_of_command,
)
from tests.support.fake_podman_wire import Answer, Body, Call, Dropped, Handle, Routes, Served, Within, in_json

__all__ = ["Built", "Command", "FakeContainer", "FakeImage", "FakePodman", "Program", "program_of_command"]

_OWN = "/v[0-9.]+/libpod"  # Podman's own calls; the others are Docker's
_VERSION = re.compile(r"^/v[0-9.]+(/libpod)?")
_ROUTES = Routes(
    ("POST", "/v[0-9.]+/images/create", "_pull"),
    ("GET", _OWN + "/_ping", "_ping"),
    ("GET", _OWN + "/info", "_info"),
    ("POST", _OWN + "/containers/create", "_create"),
    ("GET", _OWN + "/containers/json", "_list_containers"),
    ("GET", _OWN + "/containers/showmounted", "_mounted"),
    ("POST", _OWN + "/containers/{name}/init", "_init"),
    ("POST", _OWN + "/containers/{name}/start", "_start"),
    ("POST", _OWN + "/containers/{name}/wait", "_wait"),
    ("POST", _OWN + "/containers/{name}/kill", "_kill"),
    ("POST", _OWN + "/containers/{name}/stop", "_stop"),
    ("POST", _OWN + "/containers/{name}/attach", "_attach"),
    ("POST", _OWN + "/containers/{name}/mount", "_mount"),
    ("GET", _OWN + "/containers/{name}/json", "_inspect_container"),
    ("GET", _OWN + "/containers/{name}/logs", "_logs"),
    ("GET", _OWN + "/containers/{name}/exists", "_exists"),
    ("DELETE", _OWN + "/containers/{name}", "_remove_container"),
    ("HEAD", _OWN + "/containers/{name}/archive", "_stat"),
    ("GET", _OWN + "/containers/{name}/archive", "_archive"),
    ("PUT", _OWN + "/containers/{name}/archive", "_extract"),
    ("POST", _OWN + "/containers/{name}/exec", "_create_exec"),
    ("POST", _OWN + "/exec/{id}/start", "_start_exec"),
    ("GET", _OWN + "/exec/{id}/json", "_inspect_exec"),
    ("POST", _OWN + "/commit", "_commit"),
    ("POST", _OWN + "/build", "_build"),
    ("GET", _OWN + "/images/json", "_list_images"),
    ("GET", _OWN + "/images/search", "_search"),
    ("GET", _OWN + "/images/{name:.+}/json", "_inspect_image"),
    ("DELETE", _OWN + "/images/{name:.+}", "_remove_image"),
    ("POST", _OWN + "/{kind:volumes|networks}/create", "_create_thing"),
    ("GET", _OWN + "/{kind:volumes|networks}/json", "_list_things"),
    ("GET", _OWN + "/{kind:volumes|networks}/{name}/json", "_inspect_thing"),
    ("DELETE", _OWN + "/{kind:volumes|networks}/{name}", "_remove_thing"),
    ("GET", _OWN + "/events", "_stream_events"),
)
ENDS = {"KILL": 137, "TERM": 143}  # exit codes of programs that such a signal terminates, unless they ignore it


class FakePodman(FakeDetail, FakeExecs, FakeFiles, FakeBuilds):
    """A context manager. Inside the block it is reached by `within`, and unless it is not `served`, on `socket`."""

    def __init__(self, socket: Path, *, served: bool = True) -> None:
        super().__init__()
        self.socket = socket
        self._served = Served(self.answer, socket) if served else None
        self.processes.builds = self.builds
        self.within = Within(self.answer, self.tasks, self.processes)

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
        return error(failure.status, failure.says)

    async def _handled(self, request: Call) -> Answer:
        if (route := _ROUTES.find(request)) is None:
            return web.Response(status=404)
        name, found = route
        handle: Handle = getattr(self, name)
        return await handle(replace(request, match_info=found))

    async def _ping(self, _: Call) -> web.Response:
        return web.Response(text="OK")

    async def _info(self, _: Call) -> web.Response:
        rows = [{"container_id": 0, "size": 1}, {"container_id": 1, "size": 65536}] if self.rootless else None
        ids = {"uidmap": rows, "gidmap": rows}
        cgroups = {"cgroupVersion": self.cgroup_version, "cgroupControllers": ["cpu", "memory", "pids"]}
        host = cgroups | {"arch": "amd64", "ociRuntime": {"name": "crun"}, "idMappings": ids}
        security = {"rootless": self.rootless}
        store = {"graphRoot": "/var/lib/containers/storage", "volumePath": "/var/lib/containers/storage/volumes"}
        sizes = {"graphRootAllocated": self.disk, "graphRootUsed": self.taken}
        return in_json(
            {
                "host": host | {"security": security},
                "store": store | sizes,
                "version": {"Version": "4.3.1"},
                "registries": self.registries_conf,
            }
        )

    async def _create(self, request: Call) -> web.Response:
        body = await request.json()
        image = self.find_image(body["image"]) if "rootfs" not in body else None
        if image is None and "rootfs" not in body:
            return error(500, "image not known")
        if (problem := self.network_problem(body)) is not None:
            return problem
        container = FakeContainer(f"{next(self.numbers):064x}", "", body, image.id if image else "", now())
        container.root = None if image else Path(body["rootfs"])
        container.name = body.get("name") or f"made_up_{container.id[-8:]}"
        if self.find(container.name) is not None:
            return error(500, "that name is already in use")
        self.containers[container.id] = container
        for volume in body.get("volumes") or ():
            if not volume.get("Name"):  # an anonymous one
                volume["Name"] = f"{next(self.numbers):064x}"
                container.anonymous.add(volume["Name"])
            self.volumes.setdefault(volume["Name"], self.volume(volume["Name"], {}))
        await self.happen(container, "create")
        return in_json({"Id": container.id, "Warnings": []}, status=201)

    async def _init(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status in (*ALIVE, "initialized"):
            return web.Response(status=304)
        container.status, container.over = "initialized", asyncio.Event()
        return web.Response(status=204)

    async def _start(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status == "running":
            return web.Response(status=304)
        if (self.root(container) / "etc/passwd").is_fifo():  # the real one opens it, and blocks
            await asyncio.Event().wait()
        if (holder := self.holder(container)) is not None and holder.status not in ALIVE:
            await self._start(replace(request, match_info={"name": holder.id}))
        if container.status != "initialized":  # else somebody is attached, and waits for its end
            container.over = asyncio.Event()
        container.status, container.started, container.finished = "running", now(), NEVER
        container.oom_killed = False
        await self.happen(container, "start")
        program = self.program(container)
        container.log += program.output
        if program.seconds is not None:
            loop = asyncio.get_running_loop()
            container.timer = loop.call_later(program.seconds, self.finish, container, program.exit_code)
        if self.on_start is not None:
            self.spawn(self.on_start(container))
        return web.Response(status=204)

    async def _wait(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status != "created":
            await container.over.wait()
        return web.Response(text=f"{container.exit_code}\n")

    async def _kill(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status not in ALIVE:
            return error(500, "container state improper")
        name = request.query.get("signal", "KILL").removeprefix("SIG")
        container.signals.append(name)
        if name in ENDS and name not in self.program(container).ignores:
            self.finish(container, ENDS[name])
        return web.Response(status=204)

    async def _stop(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status == "running":
            await self._end_within(container, float(request.query.get("timeout", 10)))
            return web.Response(status=204)
        if container.status == "initialized":
            container.status = "exited"
            container.over.set()
            return web.Response(status=204)
        return web.Response(status=304)

    async def _end_within(self, container: FakeContainer, grace: float) -> None:
        if grace:
            stop = signal.Signals(container.body.get("stop_signal", signal.SIGTERM)).name.removeprefix("SIG")
            container.signals.append(stop)
            if stop not in self.program(container).ignores:
                self.finish(container, self.program(container).stopped)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(container.over.wait(), grace)
        self.finish(container, 137)

    async def _mount(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        container.mounted = True
        return web.Response(text=str(self.root(container)))

    async def _mounted(self, _: Call) -> web.Response:
        return in_json({c.id: str(self.root(c)) for c in self.containers.values() if c.mounted})

    async def _exists(self, request: Call) -> web.Response:
        found = self.find(request.match_info["name"])
        return web.Response(status=204) if found is not None else error(404, "no such container")

    async def _inspect_container(self, request: Call) -> web.Response:
        if (c := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        running, begun = c.status == "running", c.status in ("running", "initialized")
        state = {"Status": c.status, "Running": running, "ExitCode": c.exit_code, "OOMKilled": c.oom_killed}
        state |= {"StartedAt": c.started, "FinishedAt": c.finished, "Pid": 4242 if begun else 0, "Error": ""}
        return in_json(
            {
                "Id": c.id,
                "Name": c.name,
                "Image": c.image_id,
                "ImageName": c.body.get("image", ""),
                "Mounts": self.mounts_of(c),
                "NetworkSettings": {"Networks": self.addresses_of(c)},
                "Created": c.created,
                "Config": {"Labels": c.labels or None},
                "State": state,
                "ExecIDs": self.execs_of(c),
                **({"SizeRw": c.written} if request.query.get("size") == "true" else {}),
            }
        )

    async def _list_containers(self, request: Call) -> web.Response:
        return in_json(
            [
                {"Id": c.id, "Names": [c.name], "Labels": c.labels, "ImageID": c.image_id, "State": c.status}
                for c in self.containers.values()
                if bears(c.labels, request)
            ]
        )

    async def _remove_container(self, request: Call) -> web.Response:
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status in ALIVE:
            if request.query.get("force") != "true":
                return error(500, "container state improper")
            self.finish(container, 137)
        if any(self.holder(other) is container for other in self.containers.values()):
            return error(500, "container already exists")  # it "has dependent containers"
        del self.containers[container.id]
        if request.query.get("volumes") == "true":
            for name in container.anonymous:
                self.volumes.pop(name, None)
        container.over.set()
        await self.happen(container, "remove")
        return in_json([{"Id": container.id}])

    async def _attach(self, request: Call) -> Answer:
        """Without output, which the fake does not model: the stream only signals the end."""
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status not in (*ALIVE, "initialized"):
            container.status, container.over = "initialized", asyncio.Event()
        return self._until_over(container)

    async def _until_over(self, container: FakeContainer) -> Body:
        yield b""  # the headers come at once
        await container.over.wait()

    async def _create_thing(self, request: Call) -> web.Response:
        body, kind = await request.json(), request.match_info["kind"]
        if kind == "volumes":
            if body["Name"] in self.volumes:
                return error(500, "volume already exists")
            self.volumes[body["Name"]] = self.volume(body["Name"], body.get("Labels") or {})
            return in_json(self.volumes[body["Name"]], status=201)
        if body["name"] in self.networks:
            return error(409, "network already exists")
        unset = {"subnets": [], "internal": False, "dns_enabled": False}
        self.networks[body["name"]] = {"id": f"{next(self.numbers):064x}", **unset} | body
        return in_json(self.networks[body["name"]])

    async def _list_things(self, request: Call) -> web.Response:
        key, enough = ("Labels", any) if request.match_info["kind"] == "volumes" else ("labels", all)
        return in_json([t for t in self._things(request).values() if bears(t[key], request, enough)])

    async def _inspect_thing(self, request: Call) -> web.Response:
        found = self._things(request).get(request.match_info["name"])
        return in_json(found) if found is not None else error(404, "no such thing")

    async def _remove_thing(self, request: Call) -> web.Response:
        name, is_volume = request.match_info["name"], request.match_info["kind"] == "volumes"
        users = [v["Name"] for c in self.containers.values() for v in c.body.get("volumes") or ()]
        if is_volume and name in users:
            return error(409, "volume is being used")
        if not is_volume and any(name in (c.body.get("Networks") or ()) for c in self.containers.values()):
            return error(500, "network is being used")
        if self._things(request).pop(name, None) is None:
            return error(404, "no such thing")
        return web.Response(status=204) if is_volume else in_json([{"Name": name, "Err": None}])

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


def _wanted(event: Mapping[str, Any], filters: Mapping[str, list[str]], since: float) -> bool:
    labels = {f"{k}={v}" for k, v in event["Actor"]["Attributes"].items()}
    return (
        event["Type"] in filters.get("type", [event["Type"]])
        and event["Action"] in filters.get("event", [event["Action"]])
        and labels.issuperset(filters.get("label", []))
        and event["timeNano"] >= since * 1e9
    )
