"""No document that anybody can hand in ends the operator, however deep it is: see doors.py."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bounds.doors import DOORS

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGE = ROOT / "operator" / "stromboli"
# Parsers, and what moves the place where they fail. pydantic's own is bounded by itself (doors.py tries it).
PARSERS = re.compile(
    r"json\.loads?\(|\.json\(\)|yaml\.(safe_|full_)?load|literal_eval|setrecursionlimit|pickle|marshal"
)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The process that tries doors, and where it writes its errors."""
    errors = tmp_path_factory.mktemp("doors") / "errors"
    command = [sys.executable, "-m", "tests.unit.bounds.doors"]
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        yield process, errors


@pytest.mark.parametrize("group", DOORS)
def test_each_door_holds(group: str, doors: tuple[subprocess.Popen[str], Path]) -> None:
    """A process of its own, which must live: an overflow of the C stack is no exception."""
    process, errors = doors
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{group}\n")
    process.stdin.flush()
    said: list[str] = []
    while not said or not said[-1].startswith("exit code "):
        line = process.stdout.readline()
        assert line, errors.read_text()[-2000:]
        said.append(line.rstrip("\n"))
    assert said == [*DOORS[group], "exit code 0"], errors.read_text()[-2000:]


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
