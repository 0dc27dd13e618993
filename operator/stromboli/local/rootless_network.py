"""Removes the network namespace that rootless Podman 4 creates for all networks of a user, if it is incomplete.

Podman creates the namespace first and then starts slirp4netns, which connects it. If slirp4netns cannot start (no
usable /dev/net/tun) or has died, the namespace stays, and every later start takes it for complete and fails with
"failed to mount runtime directory for rootless netns". Podman 5 keeps it elsewhere, and repairs it by itself.
"""

from __future__ import annotations

from pathlib import Path

from stromboli.local.images import PodmanCommand

_SECONDS = 60.0
_PROGRAM = "slirp4netns"
# In Podman's user namespace, where the mounts are.
_REMOVE = 'for place; do umount -l "$place"; rm -f "$place"; done'


def heal(folder: Path, podman: PodmanCommand) -> bool:
    """Remove an incomplete namespace, so that the next start creates it again; returns whether there was one.

    `folder` is a home's folder for Podman: its `run` is XDG_RUNTIME_DIR, and its `tmp` is `tmp_dir`.
    """
    left = sorted((folder / "run/netns").glob("rootless-netns-*"))
    if not left or _connected(folder / "tmp/rootless-netns/rootless-netns-slirp4netns.pid"):
        return False
    podman.run("unshare", "sh", "-c", _REMOVE, "sh", *map(str, left), timeout=_SECONDS)
    return True


def _connected(note: Path) -> bool:
    """Whether the slirp4netns process that Podman recorded is running."""
    try:
        pid = int(note.read_text(encoding="ascii"))
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == _PROGRAM
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
