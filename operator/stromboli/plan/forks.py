"""Whether the node has room for a copy of a session's files. Pure.

A commit writes the holes of sparse files out, so a copy may take far more disk than its original, and an agent
chooses how much. Podman also writes a copy twice: into its temporary folder first, usually on the same disk. So a
copy may take no more than half of what is free.
"""

from __future__ import annotations

SMALL = 64_000_000  # bytes; a copy of less is made without asking what is free, which takes Podman 0.2 s


def lack_of_room(session: str, size: int, free: int | None) -> str:
    """Why a session's files, which take up to `size` bytes as a copy, are not copied now; empty where they may be.

    `free` is None where Podman does not say.
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
