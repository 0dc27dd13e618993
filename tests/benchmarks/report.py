"""Formats results, and stores them in two files in results/: the day's numbers, and the latest tables.

If only some benchmarks are run, that day's results of the others are kept. The files do not identify the machine or its
paths; they have only the conditions that affect the numbers.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Result

FOLDER = Path(__file__).parent / "results"
Document = dict[str, Any]


def circumstances() -> Document:
    """The conditions of the measurement. `load` is the last minute's average; over 0.3 the machine was not idle."""
    podman = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "podman": podman,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def document(results: Sequence[Result], when: Document, before: Document) -> Document:
    """The day's document: these results, and the other results of that day."""
    kept = before.get("benchmarks", {})
    return {
        "circumstances": when,
        "benchmarks": kept | {r.name: {**r.as_dict(), "load": when["load"]} for r in results},
    }


def text(found: Document) -> str:
    """The document formatted as tables, the goals first."""
    return "\n".join(_lines(found)) + "\n"


def keep(results: Sequence[Result], when: Document) -> Document:
    """Write both files. Returns the day's document."""
    FOLDER.mkdir(exist_ok=True)
    day = FOLDER / f"{when['date']}.json"
    before = json.loads(day.read_text(encoding="utf-8")) if day.exists() else {}
    found = document(results, when, before)
    day.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (FOLDER / "latest.txt").write_text(text(found), encoding="utf-8")
    return found


def _lines(found: Document) -> Iterator[str]:
    yield ", ".join(f"{key} {value}" for key, value in found["circumstances"].items())
    yield ""
    goals = [goal for benchmark in found["benchmarks"].values() for goal in benchmark["goals"]]
    width = max((len(goal["what"]) for goal in goals), default=0)
    for goal in goals:
        yield f"{goal['what']:<{width}}  {goal['value']:>8.2f}  {goal['goal']:<16} {'met' if goal['met'] else 'MISSED'}"
    for benchmark in found["benchmarks"].values():
        yield from benchmark["text"]
