"""The supervisor, PID 1 of every agent's container: one busybox script in six parts, in the order of their names.

    1-records.sh       overview, seals and records
    2-steps.sh         signals, timers, hooks, the agent
    3-handed.sh        what hooks pass on to later steps
    4-prepare.sh       home, workdir, configuration, the CLI's mount
    5-conversation.sh  resumed, forked or started; the prompt, or to go on
    6-main.sh          the main sequence

The parts are joined when an attempt's folder is created: they share one shell and its variables.
"""

from __future__ import annotations

from pathlib import Path

_PARTS = tuple(sorted(Path(__file__).parent.glob("*.sh")))


def script() -> str:
    """The complete script."""
    return "\n".join(part.read_text(encoding="utf-8") for part in _PARTS)
