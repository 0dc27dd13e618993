"""Bridge networks: create, inspect, remove, list. Checking ownership, by the labels, is up to the caller."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import Connection, label_filter, segment
from stromboli.podman.failures import answer, reading, refusal

BRIDGE = "strom-"
"""How the name of a network's bridge begins."""


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """One network. `isolated` means no traffic to or from other isolated networks, `internal` none to or from outside.

    With `dns`, its containers find each other by their names and aliases.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    isolated: bool
    internal: bool
    dns: bool
    subnets: tuple[str, ...]


class Networks:
    """The networks of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self, name: str, labels: Mapping[str, str], *, isolate: bool = True, internal: bool = False, dns: bool = False
    ) -> NetworkInfo:
        """Create a bridge network, or return it if it exists; raises PodmanError if that one differs.

        Names are resolved by aardvark-dns, without distinction of case, and may have `_` and `.`. Where that program is
        missing, Podman only logs it, and no name is found. It asks the node's servers for what it does not know itself,
        also from an internal network (4.3.1): a container there can send questions out.
        """
        body: dict[str, object] = {"name": name, "driver": "bridge", "labels": dict(labels)}
        body |= {"network_interface": bridge(name)}
        body |= {"internal": internal, "dns_enabled": dns}
        if isolate:
            body["options"] = {"isolate": "true"}
        try:
            response = await self._connection.request("POST", "/networks/create", body=body)
        except PodmanError as error:  # 409 if it exists
            return _same(await self.inspect(name), labels, (isolate, internal, dns), error)
        with reading("a new network"):
            return _info(answer(response.content))

    async def inspect(self, name: str) -> NetworkInfo | None:
        """The network; None only if Podman says that it does not exist."""
        try:
            response = await self._connection.request("GET", f"/networks/{segment(name)}/json")
        except NotFound:
            return None
        with reading("a network"):
            return _info(answer(response.content))

    async def remove(self, name: str) -> bool:
        """Remove it; False if it is gone. A network in use by a container raises PodmanError."""
        path = f"/networks/{segment(name)}"
        try:
            response = await self._connection.request("DELETE", path)
        except NotFound:
            return False
        with reading("a removal"):
            texts = [str(report["Err"]) for report in answer(response.content) or [] if report.get("Err")]
        if texts:  # a failed removal is HTTP 200 too
            raise refusal(200, texts[0].encode(), f"DELETE {path}")
        return True

    async def list(self, labels: Mapping[str, str]) -> list[NetworkInfo]:
        """All networks that have all of these labels."""
        params = {"filters": label_filter(labels)}
        response = await self._connection.request("GET", "/networks/json", params=params)
        with reading("its networks"):
            return [_info(entry) for entry in answer(response.content) or []]


def bridge(name: str) -> str:
    """The bridge of a network, in at most the 15 bytes of an interface's name.

    Podman would take the first of podman1, podman2 … that it does not use itself and that is not up. So if the node has
    another Podman with a network whose containers are all stopped, both would share a bridge as soon as they run.
    """
    return f"{BRIDGE}{hashlib.sha256(name.encode()).hexdigest()[:9]}"


def _same(
    found: NetworkInfo | None, labels: Mapping[str, str], kind: tuple[bool, bool, bool], error: PodmanError
) -> NetworkInfo:
    if found is None:
        raise error
    if not labels.items() <= found.labels.items() or (found.isolated, found.internal, found.dns) != kind:
        raise PodmanError(
            f"a network named {found.name} already exists and differs from ours; remove or rename it", error.status
        ) from error
    return found


def _info(entry: Mapping[str, Any]) -> NetworkInfo:
    return NetworkInfo(
        id=entry["id"],
        name=entry["name"],
        labels=dict(entry.get("labels") or {}),
        isolated=(entry.get("options") or {}).get("isolate") in ("true", "strict"),
        internal=bool(entry.get("internal")),
        dns=bool(entry.get("dns_enabled")),
        subnets=tuple(subnet["subnet"] for subnet in entry.get("subnets") or []),
    )
