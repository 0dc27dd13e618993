"""Whose a thing in Podman is: told by its name and its labels together, and by nothing less. Pure.

Labels alone prove nothing: `podman commit` and a build hand a container's on to an image, an image to all containers
that are made of it, and anybody can write them. A name alone says nothing of the cluster, and several share a Podman.
Our names are computed from what the labels state, so each has to fit the other. Everybody who counts, watches or
removes something of ours asks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stromboli import naming
from stromboli.naming import ContainerKey, Role

Labels = Mapping[str, str]


def container_key(name: str, labels: Labels, installation: str) -> ContainerKey | None:
    """Which container of which session this is, in whatever role; None if it is not a session's of ours.

    A container without a role counts as an agent's: older versions created helpers like that, under an agent's name.
    """
    key = ContainerKey(_owner(labels, installation), Role(labels.get(naming.ROLE, naming.AGENT)))
    return key if key.session and name == key.name else None


def is_agent(name: str, labels: Labels, installation: str) -> bool:
    """Whether the agents of a session of ours run in this container."""
    key = container_key(name, labels, installation)
    return key is not None and key.role == naming.AGENT


def session_of_volume(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) whose volume this is; None for anybody else's."""
    owner = _owner(labels, installation)
    return owner if owner and name == naming.volume(owner) else None


def copies_of(names: Iterable[str], labels: Labels, installation: str) -> dict[str, str]:
    """An image's names by which it is a session's copy, each with that session's UID.

    Whatever else it is called is somebody's own.
    """
    owner = _owner(labels, installation)
    if not owner:
        return {}
    ours = (naming.copy(owner), f"{naming.copy(owner)}{naming.STACKED}")
    return {name: owner for name in names if name in ours}


def is_holder(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether a container of that image is there to keep the CLI mounted."""
    return _has_role(labels, installation, naming.ROLE_HOLDER) and name == naming.holder(installation, image_id)


def is_reader(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether a container of that image is a temporary one of ours, through which files are read."""
    return _has_role(labels, installation, naming.ROLE_READER) and name.startswith(f"{naming.reader(image_id)}-")


def is_network(name: str, labels: Labels, installation: str) -> bool:
    """Whether it is the network of a namespace of ours."""
    return labels.get(naming.INSTALLATION) == installation and naming.NETWORK.fullmatch(name) is not None


def _owner(labels: Labels, installation: str) -> str:
    """The owner's UID according to the labels; empty for none, and for another installation's."""
    return labels.get(naming.OWNER, "") if labels.get(naming.INSTALLATION) == installation else ""


def _has_role(labels: Labels, installation: str, role: str) -> bool:
    return (labels.get(naming.INSTALLATION), labels.get(naming.ROLE)) == (installation, role)
