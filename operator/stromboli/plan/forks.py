"""Whether the node has room for a copy of a session's files. Pure.

A commit writes the holes of sparse files as data, so a copy can take far more disk space than the original, and an
agent chooses how much. Podman also writes a copy twice, first into its temporary folder, which is usually on the same
disk. So a copy may take no more than half of the free space.
"""

from __future__ import annotations

SMALL = 64_000_000  # bytes; smaller copies are made without querying the free space, which takes Podman 0.2 s


def lack_of_room(session: str, size: int, free: int | None) -> str:
    """Why a session's files, which take up to `size` bytes as a copy, cannot be copied now; empty if they can.

    `free` is None if Podman does not report it.
    """
    if size < SMALL or free is None or size <= free // 2:
        return ""
    return (
        f"a copy of the files of session {session} takes up to {_shown(size)}, since holes in files are written out, "
        f"and may take half of the {_shown(free)} that are free where Podman keeps its images; make room there, or "
        "delete this run"
    )


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
