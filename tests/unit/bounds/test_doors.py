"""No document that anybody can hand in ends the operator, however deep it is: see doors.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import forks
from tests.unit.bounds.doors import DOORS
from tests.unit.forks import Forks

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGE = ROOT / "operator" / "stromboli"
# Parsers, and what moves the place where they fail. pydantic's own is bounded by itself (doors.py tries it).
PARSERS = re.compile(
    r"json\.loads?\(|\.json\(\)|yaml\.(safe_|full_)?load|literal_eval|setrecursionlimit|pickle|marshal"
)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks.of("tests.unit.bounds.doors", tmp_path_factory.mktemp("doors")) as ready:
        yield ready


@pytest.mark.parametrize("group", DOORS)
def test_each_door_holds(group: str, doors: Forks) -> None:
    """In a process of its own, which must live: an overflow of the C stack is no exception."""
    assert doors.lines(group) == list(DOORS[group])


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
