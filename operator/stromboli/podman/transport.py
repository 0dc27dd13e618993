"""`Podman`: one Podman service with all its kinds of objects, and its host. How a call is made is in `connection`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stromboli.podman import registries_conf
from stromboli.podman.archive import Archive
from stromboli.podman.builds import Builds
from stromboli.podman.connection import Connection, Observe, unobserved
from stromboli.podman.containers import Containers
from stromboli.podman.copies import Copies
from stromboli.podman.events import Events
from stromboli.podman.execs import Execs
from stromboli.podman.failures import answer, reading
from stromboli.podman.folders import Folders
from stromboli.podman.images import Images
from stromboli.podman.logs import Logs
from stromboli.podman.networks import Networks
from stromboli.podman.processes import Processes
from stromboli.podman.registries_conf import RegistriesConf
from stromboli.podman.search import Search
from stromboli.podman.volumes import Volumes


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The parts of `podman info` that we use. `architecture` is Go's name (`amd64`, `arm64`).

    `ids` are the numbers of uids and gids in a rootless Podman's user namespace, including the user's own.
    `controllers` are the cgroup controllers with which Podman can limit a container (`memory`, `cpu`, `pids`).
    """

    version: str
    rootless: bool
    ids: tuple[int, int]
    architecture: str
    runtime: str
    volume_path: str
    controllers: frozenset[str]


class Podman:
    """A client for one Podman on its Unix socket: `podman.containers.start(name)` and so on.

    Bound to the event loop in which it is first used. All calls raise `PodmanUnavailable` if nothing answers, and
    `PodmanError` or a subclass if Podman refuses.
    """

    def __init__(
        self, socket_path: Path | str, *, processes: Processes | None = None, observe: Observe = unobserved
    ) -> None:
        self._connection = Connection(socket_path, observe)
        self.containers = Containers(self._connection)
        self.images = Images(self._connection)
        self.search = Search(self._connection)
        self.folders = Folders(self._connection)
        self.copies = Copies(self._connection)
        self.archive = Archive(self._connection)
        self.volumes = Volumes(self._connection)
        self.networks = Networks(self._connection)
        self.events = Events(self._connection)
        self.logs = Logs(self._connection)
        self.execs = Execs(self._connection, processes or Processes())
        self.builds = Builds(self._connection, processes or Processes())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        await self._connection.close()

    async def ping(self, patience: float) -> None:
        """Ask whether it answers, within `patience` seconds. Raises PodmanUnavailable or PodmanError if it does not."""
        await self._connection.request("GET", "/_ping", silence=patience)

    async def info(self) -> HostInfo:
        """Information about the host. Podman takes 0.2 s to collect it, so call this once."""
        response = await self._connection.request("GET", "/info")
        with reading("its host"):
            info = answer(response.content)
            host, store = info["host"], info["store"]
            return HostInfo(
                version=info["version"]["Version"],
                rootless=bool(host["security"]["rootless"]),
                ids=_counts(host["idMappings"]),
                architecture=host["arch"],
                runtime=host["ociRuntime"]["name"],
                volume_path=store["volumePath"],
                controllers=_controllers(host),
            )

    async def registries(self) -> RegistriesConf:
        """The node's registries.conf, which Podman reads once, when its service starts. As slow as `info`."""
        response = await self._connection.request("GET", "/info")
        with reading("its registries"):
            return registries_conf.read(answer(response.content).get("registries") or {})

    async def free(self) -> int | None:
        """Free bytes where Podman stores images and containers; None if it does not report them. As slow as `info`."""
        response = await self._connection.request("GET", "/info")
        with reading("its storage"):
            store = answer(response.content)["store"]
            size, used = store.get("graphRootAllocated"), store.get("graphRootUsed")
            return int(size) - int(used) if size and used is not None else None


def _controllers(host: Mapping[str, Any]) -> frozenset[str]:
    """The controllers that take effect. Rootless on cgroup v1, Podman drops all limits and only logs a warning."""
    if host["security"]["rootless"] and host["cgroupVersion"] == "v1":
        return frozenset()
    return frozenset(host["cgroupControllers"] or ())


def _counts(mappings: Mapping[str, Any]) -> tuple[int, int]:
    uids, gids = (sum(int(row["size"]) for row in mappings[kind] or ()) for kind in ("uidmap", "gidmap"))
    return uids, gids
