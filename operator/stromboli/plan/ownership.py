"""Whose a thing in Podman is: told by its name and its labels together, and by nothing less. Pure.

Labels alone prove nothing: `podman commit` and a build hand a container's on to an image, an image to all containers
that are made of it, and anybody can write them. A name alone says nothing of the cluster, and several share a Podman.
Our names are computed from what the labels state, so each has to fit the other. Everybody who counts, watches or
removes something of ours asks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stromboli import naming

Labels = Mapping[str, str]


def session_of_container(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) whose container this is; None for anybody else's."""
    return _session(name, labels, installation, naming.container)


def session_of_volume(name: str, labels: Labels, installation: str) -> str | None:
    """The UID of the session (or run) whose volume this is; None for anybody else's."""
    return _session(name, labels, installation, naming.volume)


def copies_of(names: Iterable[str], labels: Labels, installation: str) -> dict[str, str]:
    """An image's names by which it is a session's copy, each with that session's UID.

    Whatever else it is called is somebody's own.
    """
    owner = labels.get(naming.OWNER, "")
    if labels.get(naming.INSTALLATION) != installation or not owner:
        return {}
    ours = (naming.copy(owner), f"{naming.copy(owner)}{naming.STACKED}")
    return {name: owner for name in names if name in ours}


def is_holder(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether a container of that image is there to keep the CLI mounted."""
    return _has_role(labels, installation, naming.ROLE_HOLDER) and name == naming.holder(installation, image_id)


def is_look(name: str, image_id: str, labels: Labels, installation: str) -> bool:
    """Whether a container of that image is a throw-away one of ours."""
    return _has_role(labels, installation, naming.ROLE_LOOK) and name.startswith(f"{naming.look(image_id)}-")


def is_network(name: str, labels: Labels, installation: str) -> bool:
    """Whether it is the network of a namespace of ours."""
    return labels.get(naming.INSTALLATION) == installation and naming.NETWORK.fullmatch(name) is not None


def _session(name: str, labels: Labels, installation: str, named: naming.Named) -> str | None:
    owner = labels.get(naming.OWNER, "")
    if labels.get(naming.INSTALLATION) == installation and owner and name == named(owner):
        return owner
    return None


def _has_role(labels: Labels, installation: str, role: str) -> bool:
    return (labels.get(naming.INSTALLATION), labels.get(naming.ROLE)) == (installation, role)
