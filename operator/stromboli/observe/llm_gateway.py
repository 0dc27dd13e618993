"""The folder on this node that is mounted for the socket of an LLM gateway, checked before each start.

plan/llm_gateway.py decides what may be in that folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from stromboli.errors import Unanswered, Waiting
from stromboli.observe import hostfiles
from stromboli.plan import llm_gateway
from stromboli.plan.llm_gateway import Folder
from stromboli.plan.request import GATEWAY_SOCKET
from stromboli.reasons import Reason

NAMED = 3  # other entries of the folder that a refusal names


async def folder(socket: str | None, podman_socket: Path) -> Path | None:
    """The real folder of the socket, None if there is no gateway. Raises Refused(PolicyViolation), Waiting."""
    if socket is None:
        return None
    try:
        found = await hostfiles.in_time(_folder, Path(socket), podman_socket)
    except Unanswered as e:
        raise _waiting(str(e)) from e
    except FileNotFoundError as e:
        raise _waiting(f"the folder of {socket} is not on the node yet") from e
    except OSError as e:
        raise _waiting(f"{e.filename or socket} cannot be accessed: {e.strerror}") from e
    llm_gateway.judge(socket, found)
    if found.socket is None:
        raise _waiting(f"there is no socket at {socket} yet; goes on once the gateway has started")
    return Path(found.path)


def _folder(socket: Path, podman_socket: Path) -> Folder:
    real = Path(hostfiles.real(str(socket.parent), strict=True))
    with hostfiles.touching(str(real)):
        return _contents(real, socket, podman_socket)


def _contents(real: Path, socket: Path, podman_socket: Path) -> Folder:
    place = real / socket.name
    others: list[str] = []
    with os.scandir(real) as entries:
        for entry in entries:
            if entry.name not in llm_gateway.names_of(socket.name):
                others.append(entry.name)
            if len(others) == NAMED:
                break
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return Folder(str(real), real.stat().st_mode, None, tuple(others), podman=False)
    return Folder(str(real), real.stat().st_mode, mode, tuple(others), _same(place, podman_socket))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _waiting(what: str) -> Waiting:
    return Waiting(Reason.WaitingForReference, f"the policy's env {GATEWAY_SOCKET}: {what}")
