"""Waits for the processes with which Podman cleans up after a container that has ended. Blocking.

conmon starts one at a container's end, also if whoever stopped the container has cleaned up already. It takes a
container that was initialized meanwhile for the one that has ended, and undoes its mounts. So who initializes a
container and looks at it before the start waits for them first.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

from stromboli.errors import PodmanError

LIMIT = 20.0  # seconds, as Podman itself waits for one


def wait(container: str) -> None:
    """Return once no process of Podman's works for a container, given by its id, that does not run.

    Raises PodmanError if one does after 20 s.
    """
    ends = time.monotonic() + LIMIT
    while working := _working(container):
        for process in working:
            _await_end(process, ends)
        if time.monotonic() >= ends:
            raise PodmanError(f"Podman is still cleaning up after the container {container}")


def _working(container: str) -> list[int]:
    """Its conmon, which lives until the clean-up that it has started is over, and such clean-ups."""
    wanted, found = container.encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if wanted in words and b"cleanup" in words:
                    found.append(int(entry.name))
    return found


def _await_end(process: int, ends: float) -> None:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, ends - time.monotonic()) * 1000)
    finally:
        os.close(descriptor)
