"""Who owns an object in Podman, according to both its name and its labels. Pure.

Labels alone prove nothing: `podman commit` and builds copy them from a container to an image, and from an image to all
containers of it, and anybody can write them. A name alone does not identify the cluster, and several clusters may share
one Podman. Our names are computed from the labels' values, so name and labels must match. All code that counts, watches
or removes our objects decides by these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stromboli import naming
from stromboli.naming import ContainerKey, Role
from stromboli.plan.stack import names as stack_names

Labels = Mapping[str, str]


def container_key(name: str, labels: Labels, installation: str) -> ContainerKey | None:
    """The session and the role of a container; None if it does not belong to a session of ours.

    Without a role it is an agent's: older versions created helpers that way, named like agents.
    """
    key = ContainerKey(_owner(labels, installation), Role(labels.get(naming.ROLE, naming.AGENT)))
    return key if key.session and name == key.name else None


def is_agent(name: str, labels: Labels, installation: str) -> bool:
    """Whether the agents of a session of ours run in this container."""
    key = container_key(name, labels, installation)
    return key is not None and key.role == naming.AGENT


def session_of_volume(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) that owns a volume; None if it is not ours."""
    owner = _owner(labels, installation)
    return owner if owner and name == naming.volume(owner) else None


def session_of_stack_volume(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) whose stack has this volume; None if it is not ours."""
    owner, key = _owner(labels, installation), labels.get(naming.STACK_VOLUME, "")
    return owner if owner and key and name == stack_names.volume(owner, key) else None


def session_of_stack_network(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) whose stack has this network; None if it is not ours."""
    owner, key = _owner(labels, installation), labels.get(naming.STACK_NETWORK, "")
    return owner if owner and key and name == stack_names.network(owner, key) else None


def builds_of(names: Iterable[str], labels: Labels, installation: str) -> dict[str, str]:
    """Those names of an image that mark it as built for a session's stack, each with that session's UID."""
    owner, service = _owner(labels, installation), labels.get(naming.SERVICE, "")
    if not owner or not service:
        return {}
    return {name: owner for name in names if name == stack_names.image(owner, service)}


def former_build_of(names: Iterable[str], labels: Labels, installation: str) -> str | None:
    """The UID of the session for whose stack an image was built that has since lost its name to a newer one; None if
    it is no such image.

    Here the labels have to do: nobody misses an image without a name, and one that was committed from a container of a
    session has that one's role.
    """
    is_build = labels.get(naming.ROLE) == naming.ROLE_BUILT and not any(names)
    return (_owner(labels, installation) or None) if is_build else None


def copies_of(names: Iterable[str], labels: Labels, installation: str) -> dict[str, str]:
    """Those names of an image that mark it as a session's copy, each with that session's UID.

    Its other names belong to somebody else.
    """
    owner = _owner(labels, installation)
    if not owner:
        return {}
    ours = (naming.copy(owner), f"{naming.copy(owner)}{naming.STACKED}")
    return {name: owner for name in names if name in ours}


def is_holder(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether this is the container that keeps that image of the CLI mounted."""
    return _has_role(labels, installation, naming.ROLE_HOLDER) and name == naming.holder(installation, image_id)


def is_reader(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether a container of that image is a temporary one of ours, through which files are read."""
    return _has_role(labels, installation, naming.ROLE_READER) and name.startswith(f"{naming.reader(image_id)}-")


def is_network(name: str, labels: Labels, installation: str) -> bool:
    """Whether this is the network of one of our namespaces."""
    return labels.get(naming.INSTALLATION) == installation and naming.NETWORK.fullmatch(name) is not None


def _owner(labels: Labels, installation: str) -> str:
    """The owner's UID according to the labels; empty if there is none, or if another installation owns it."""
    return labels.get(naming.OWNER, "") if labels.get(naming.INSTALLATION) == installation else ""


def _has_role(labels: Labels, installation: str, role: str) -> bool:
    return (labels.get(naming.INSTALLATION), labels.get(naming.ROLE)) == (installation, role)
