"""What an inspected container says beyond its state: image, mounts and addresses. For the containers of service stacks.

How often a container was restarted is not here: Podman counts only the restarts of its own restart policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.podman.container_state import ContainerState


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a container. `name` is the volume's, and empty for a bind; Podman lists no tmpfs here."""

    type: str  # bind | volume
    name: str
    source: str
    destination: str
    writable: bool


@dataclass(frozen=True, slots=True)
class ContainerDetail:
    """One inspected container. `image` is the name or id that it was created from.

    `addresses` are its IPv4 addresses by network, of one that runs; empty for one in another's network namespace.
    """

    state: ContainerState
    image: str
    mounts: tuple[Mount, ...]
    addresses: Mapping[str, str]


def detail(entry: Mapping[str, Any], state: ContainerState) -> ContainerDetail:
    """Of Podman's answer, from which `state` was read already."""
    networks = (entry.get("NetworkSettings") or {}).get("Networks") or {}
    return ContainerDetail(
        state=state,
        image=entry["ImageName"],
        mounts=tuple(_mount(each) for each in entry.get("Mounts") or ()),
        addresses={str(name): str(each["IPAddress"]) for name, each in networks.items() if each["IPAddress"]},
    )


def _mount(entry: Mapping[str, Any]) -> Mount:
    return Mount(
        type=entry["Type"],
        name=entry.get("Name") or "",
        source=entry["Source"],
        destination=entry["Destination"],
        writable=bool(entry["RW"]),
    )
