"""The listening sockets in a container's network namespace, as the kernel's tables say (proc_pid_net(5)).

No connection is made, and no tool is needed in the image. The operator has to see the container's processes: in a Pod
it needs the host's PID namespace.
"""

from __future__ import annotations

from pathlib import Path

from stromboli.apart import apart
from stromboli.plan.stack import ports
from stromboli.plan.stack.ports import Listening

_TABLES = ("tcp", "tcp6")
LONGEST = 4 * 1024 * 1024  # bytes of a table that are read: some 25,000 sockets


async def listening(pid: int, proc: Path = Path("/proc")) -> Listening | None:
    """What the container of this first process listens on; None if its tables cannot be read."""
    return await apart(_listening, pid, proc)


def _listening(pid: int, proc: Path) -> Listening | None:
    found = []
    for name in _TABLES:
        try:
            with (proc / str(pid) / "net" / name).open("rb") as table:
                found.append(table.read(LONGEST).decode("ascii", errors="replace"))
        except FileNotFoundError:  # no IPv6, or the process has ended
            continue
        except OSError:
            return None
    return ports.listening(found) if found else None
