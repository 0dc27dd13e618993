"""The folder of a gateway's socket → whether it may be mounted into agents. Pure.

The folder is mounted and not the socket alone: a bind mount keeps the socket that it was made with, so that a gateway
that is started again would be out of reach for every run that is going. All that lies in the folder is then in reach
of agents, so it has to be the gateway's own.
"""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass

from stromboli.errors import Refused
from stromboli.plan.request import GATEWAY_SOCKET
from stromboli.reasons import Reason

OWN_FOLDER = "give the socket a folder of its own that only its owner may write, such as /srv/gateway/api.sock"


@dataclass(frozen=True, slots=True)
class Folder:
    """What was found: the folder's real path and mode, the socket's mode (None for none), some names beside it.

    `podman` is whether the socket is the one at which Podman itself answers.
    """

    path: str
    mode: int
    socket: int | None
    others: tuple[str, ...]
    podman: bool


def names_of(socket: str) -> frozenset[str]:
    """What may lie in the folder: the socket, and what a gateway that takes care leaves beside it."""
    name = posixpath.basename(socket)
    return frozenset({name, f"{name}.lock", f"{name}.pid", f"{name}.tmp"})


def judge(socket: str, found: Folder) -> None:
    """Raises Refused(PolicyViolation) for a folder, or a socket, that agents must not have."""
    if found.others:
        raise _refused(socket, f"its folder {found.path} holds other things as well ({', '.join(found.others)})")
    if found.mode & stat.S_IWOTH:
        raise _refused(socket, f"everybody may write in its folder {found.path}")
    if found.podman:
        raise _refused(socket, "Podman itself answers there, and whoever reaches it has the whole node")
    if found.socket is not None and stat.S_ISLNK(found.socket):
        raise _refused(socket, "is a link, which leads nowhere in a container")
    if found.socket is not None and not stat.S_ISSOCK(found.socket):
        raise _refused(socket, "is no socket")


def _refused(socket: str, why: str) -> Refused:
    return Refused(Reason.PolicyViolation, f"the policy's env {GATEWAY_SOCKET}: {socket}: {why}; {OWN_FOLDER}")
