"""Loopback ports, chosen once and stored in a file. A port is replaced only if another process has taken it."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from stromboli import bounds, files

HOST = "127.0.0.1"
APISERVER = "kube-apiserver"
ETCD = "etcd"
ETCD_PEER = "etcd-peer"
CONTROLLER_MANAGER = "kube-controller-manager"
NAMES = (APISERVER, ETCD, ETCD_PEER, CONTROLLER_MANAGER)


def read(file: Path, names: Collection[str] = NAMES) -> dict[str, int]:
    """The stored ports by name; empty if none are stored or one of `names` is missing."""
    try:
        stored = bounds.json_document(file.read_bytes(), bounds.DOCUMENT)
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(stored, dict) or not all(isinstance(stored.get(name), int) for name in names):
        return {}
    return {name: stored[name] for name in names}


def settle(file: Path, in_use: Collection[str], names: Collection[str] = NAMES) -> dict[str, int]:
    """A port for every name, stored in `file`. Those of the names `in_use` are open by our own processes and kept."""
    stored = read(file, names)
    kept = {name: port for name, port in stored.items() if name in in_use or free(port)}
    settled = {**kept, **_choose([name for name in names if name not in kept])}
    if settled != stored:
        files.write_private(file, json.dumps(settled).encode())
    return settled


def free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on the port now, at this address; an empty one is every address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Go does: TIME_WAIT does not matter
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _choose(names: list[str]) -> dict[str, int]:
    """Free ports. All sockets stay open until the end, so that no port is chosen twice."""
    with ExitStack() as stack:
        chosen = {}
        for name in names:
            probe = stack.enter_context(socket.socket())
            probe.bind((HOST, 0))
            chosen[name] = probe.getsockname()[1]
        return chosen
