"""The demo's report on a finished run: its conditions as a table, and how long each stage took. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from stromboli.reasons import RunCondition

Run = Mapping[str, Any]
Stage = tuple[str, float]  # what it is, seconds


def succeeded(run: Run) -> Mapping[str, str]:
    """The condition `Succeeded`, or an empty mapping before the operator has seen the run."""
    found = [c for c in _status(run).get("conditions", []) if c["type"] == RunCondition.Succeeded]
    return found[0] if found else {}


def finished(run: Run) -> bool:
    return succeeded(run).get("status") in ("True", "False")


def answer(run: Run) -> str:
    """The agent's last message."""
    return str(_status(run).get("result", {}).get("text", ""))


def conditions(run: Run) -> list[str]:
    """The conditions as lines of a table, header first."""
    rows = [("TYPE", "STATUS", "REASON", "MESSAGE")]
    rows += [(c["type"], c["status"], c["reason"], c.get("message", "")) for c in _status(run).get("conditions", [])]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as aligned lines."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    return ["  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows]


def stages(run: Run, applied: datetime) -> list[Stage]:
    """From `applied` to the end, by the times in the status. A stage that was not reached is left out."""
    status = _status(run)
    attempt = (status.get("attempts") or [{}])[-1]
    agent: Run = next((s for s in status.get("steps", []) if s["hook"] == "agent"), {})
    moments = [
        ("", applied.isoformat()),
        ("seen by the operator", status.get("startTime")),
        ("policy, image, CLI mount", attempt.get("startedAt")),
        ("container created and started", agent.get("startedAt")),
        ("Claude CLI running", agent.get("finishedAt")),
        ("container's end noticed", attempt.get("finishedAt")),
        ("answer written to the status", status.get("completionTime")),
    ]
    known = [(name, datetime.fromisoformat(text)) for name, text in moments if text]
    # One machine's clock, but times in the status are rounded.
    return [(name, max(0.0, (at - before).total_seconds())) for (_, before), (name, at) in pairwise(known)]


def timing(measured: Sequence[Stage], run: Sequence[Stage]) -> list[str]:
    """All stages as aligned lines; those of the run are indented below their sum."""
    rows = [
        *measured,
        ("the run", sum(seconds for _, seconds in run)),
        *((f"  {name}", s) for name, s in run),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {seconds:6.2f} s" for name, seconds in rows]


def _status(run: Run) -> Mapping[str, Any]:
    return run.get("status") or {}
