"""The supervisor, PID 1 of every agent's container: one script for busybox, in five parts, in the order of their names.

    1-records.sh  what it is, its seals and its records      2-steps.sh    signals, timers, hooks, the agent
    3-handed.sh   what hooks hand on to what comes later     4-prepare.sh  home, workdir, configuration, the CLI's mount
    5-main.sh     all of it, in order

The parts are joined when an attempt's folder is made: they share one shell and its variables.
"""

from __future__ import annotations

from pathlib import Path

_PARTS = tuple(sorted(Path(__file__).parent.glob("*.sh")))


def script() -> str:
    """The whole script."""
    return "\n".join(part.read_text(encoding="utf-8") for part in _PARTS)
