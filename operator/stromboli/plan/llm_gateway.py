"""Decides whether the folder with the socket of an LLM gateway may be mounted into agents. Pure.

Agents use an LLM gateway in place of the Messages API; the gateway of the read API is in the package `gateway`.

The folder is mounted and not the socket: a bind mount keeps the socket that it was created with, so running agents
could not reach a gateway that was restarted. Agents can reach everything in the folder, so it must be the gateway's.
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
    """What was found: the folder's real path and mode, the socket's mode (None if there is none), and other entries.

    `podman` is whether the socket is Podman's own.
    """

    path: str
    mode: int
    socket: int | None
    others: tuple[str, ...]
    podman: bool


def names_of(socket: str) -> frozenset[str]:
    """What may be in the folder: the socket, and the files that a gateway usually creates beside it."""
    name = posixpath.basename(socket)
    return frozenset({name, f"{name}.lock", f"{name}.pid", f"{name}.tmp"})


def judge(socket: str, found: Folder) -> None:
    """Raises Refused(PolicyViolation) for a folder or a socket that agents must not get."""
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
