"""The network namespace that a rootless Podman 4 makes for all networks of a user, where it was left incomplete.

Podman makes the namespace first and then starts slirp4netns, which connects it. Where that cannot start (no usable
/dev/net/tun) or has died, the namespace stays; every later start takes it for complete and fails with "failed to mount
runtime directory for rootless netns". Podman 5 keeps it elsewhere and looks after it by itself.
"""

from __future__ import annotations

from pathlib import Path

from stromboli.local.images import PodmanCommand

_SECONDS = 60.0
_PROGRAM = "slirp4netns"
# In Podman's user namespace, where the mounts are.
_REMOVE = 'for place; do umount -l "$place"; rm -f "$place"; done'


def heal(folder: Path, podman: PodmanCommand) -> bool:
    """Remove what was left incomplete, so that the next start makes it anew; True if there was something.

    `folder` is the Podman's of a home: XDG_RUNTIME_DIR is `run` in it, and `tmp_dir` is `tmp`.
    """
    left = sorted((folder / "run/netns").glob("rootless-netns-*"))
    if not left or _connected(folder / "tmp/rootless-netns/rootless-netns-slirp4netns.pid"):
        return False
    podman.run("unshare", "sh", "-c", _REMOVE, "sh", *map(str, left), timeout=_SECONDS)
    return True


def _connected(note: Path) -> bool:
    """Whether the process that Podman noted runs."""
    try:
        pid = int(note.read_text(encoding="ascii"))
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == _PROGRAM
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
