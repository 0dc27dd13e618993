"""Named volumes: create, inspect, remove, list. Checking ownership, by the labels, is up to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import Connection, label_filter, segment
from stromboli.podman.failures import answer, reading


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """One volume. `mountpoint` is its folder on Podman's host."""

    name: str
    labels: Mapping[str, str]
    mountpoint: str


class Volumes:
    """The volumes of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, name: str, labels: Mapping[str, str]) -> VolumeInfo:
        """Create it, or return it if it exists; raises PodmanError if that one lacks these labels.

        When a container first mounts it, Podman changes the folder's owner to the container's user (seen on 4.3.1).
        """
        body = {"Name": name, "Labels": dict(labels)}
        try:
            response = await self._connection.request("POST", "/volumes/create", body=body)
        except PodmanError as error:  # 500 if it exists
            return _same(await self.inspect(name), labels, error)
        with reading("a new volume"):
            return _info(answer(response.content))

    async def inspect(self, name: str) -> VolumeInfo | None:
        """The volume; None only if Podman says that it does not exist."""
        try:
            response = await self._connection.request("GET", f"/volumes/{segment(name)}/json")
        except NotFound:
            return None
        with reading("a volume"):
            return _info(answer(response.content))

    async def remove(self, name: str) -> bool:
        """Remove it; False if it is gone. A volume in use by a container raises PodmanError with status 409."""
        try:
            await self._connection.request("DELETE", f"/volumes/{segment(name)}")
        except NotFound:
            return False
        return True

    async def list(self, labels: Mapping[str, str]) -> list[VolumeInfo]:
        """All volumes that have all of these labels."""
        params = {"filters": label_filter(labels)}
        response = await self._connection.request("GET", "/volumes/json", params=params)
        with reading("its volumes"):
            found = [_info(entry) for entry in answer(response.content) or []]
        # With several labels, Podman returns volumes that have any of them (seen on 4.3.1), unlike for containers.
        return [volume for volume in found if labels.items() <= volume.labels.items()]


def _same(found: VolumeInfo | None, labels: Mapping[str, str], error: PodmanError) -> VolumeInfo:
    if found is None:
        raise error
    if not labels.items() <= found.labels.items():
        raise PodmanError(
            f"a volume named {found.name} already exists and is not ours; remove or rename it", error.status
        ) from error
    return found


def _info(entry: Mapping[str, Any]) -> VolumeInfo:
    return VolumeInfo(entry["Name"], dict(entry["Labels"] or {}), entry["Mountpoint"])
