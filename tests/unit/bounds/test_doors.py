"""No document that anybody can hand in ends the operator, however deep it is: see doors.py."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.unit.bounds.doors import DOORS

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGE = ROOT / "operator" / "stromboli"
# Parsers, and what moves the place where they fail. pydantic's own is bounded by itself (doors.py tries it).
PARSERS = re.compile(
    r"json\.loads?\(|\.json\(\)|yaml\.(safe_|full_)?load|literal_eval|setrecursionlimit|pickle|marshal"
)


@pytest.mark.parametrize("group", DOORS)
async def test_each_door_holds(group: str) -> None:
    """A process of its own, which must live: an overflow of the C stack is no exception."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.unit.bounds.doors", group),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, why = await process.communicate()
    assert process.returncode == 0, f"exit code {process.returncode} after {said.decode()}: {why.decode()[-2000:]}"
    assert said.decode().splitlines() == list(DOORS[group])


def test_there_is_no_other_parser() -> None:
    """Whoever has a document to read finds bounds.py, which measures it first."""
    found = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "bounds.py"
        for line in path.read_text().splitlines()
        if PARSERS.search(line)
    }
    assert not found
