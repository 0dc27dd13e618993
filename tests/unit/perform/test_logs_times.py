"""What was written in the last seconds: noted while an attempt runs, and asked for later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stromboli.attempt import times
from stromboli.perform.logs.times import DENSE, EVERY, Times
from tests.support.builders import UID
from tests.unit.perform.test_logs_steps import Bed

BEGAN = 1_700_000_000.0


class Clocked:
    """A running attempt whose outputs grow as time passes."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.now = BEGAN
        bed.outputs = bed.of_node("node-1", now=lambda: self.now)
        self.times = Times(bed.store, bed.site, "node-1", lambda: self.now)
        bed.record()

    async def passes(self, seconds: float = EVERY, data: bytes = b"") -> None:
        if data:
            self.bed.write(data)
        self.now += seconds
        await self.times.once()

    async def since(self, seconds: float, step: str = "agent") -> bytes:
        return await self.bed.all(since=seconds, step=step)

    @property
    def lines(self) -> list[str]:
        path = self.bed.folder.attempt(UID, 1) / "times"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    return Clocked(Bed(tmp_path))


async def test_what_was_written_before_is_left_out_to_a_few_seconds(clocked: Clocked) -> None:
    await clocked.passes()
    for n in range(6):
        await clocked.passes(data=b"line %d\n" % n)
    # Lines were noted 5, 10 … 30 seconds after; it is 35 now.
    assert await clocked.since(0) == b""
    assert await clocked.since(4) == b"line 5\n"
    assert await clocked.since(11) == b"line 3\nline 4\nline 5\n"
    assert await clocked.since(1000) == b"".join(b"line %d\n" % n for n in range(6))


async def test_it_begins_with_a_whole_line(clocked: Clocked) -> None:
    await clocked.passes(data=b"whole\nhalf")
    await clocked.passes(data=b" and half\n")
    assert await clocked.since(0) == b""
    assert await clocked.since(5) == b"half and half\n"


async def test_nothing_was_written_lately_by_an_attempt_that_has_ended(clocked: Clocked) -> None:
    await clocked.passes(data=b"line\n")
    clocked.bed.attempts(1, over=True)
    clocked.now = datetime(2026, 1, 31, 12, 1, 1, tzinfo=UTC).timestamp()
    assert await clocked.since(59) == b""
    assert await clocked.since(59, "supervisor") == b""
    assert await clocked.since(61, "supervisor") != b""


async def test_a_quiet_attempt_takes_no_room_and_a_long_one_little(clocked: Clocked) -> None:
    for _ in range(10):
        await clocked.passes()
    assert clocked.lines == []
    await clocked.passes(data=b"x")
    for _ in range(10):
        await clocked.passes()
    assert clocked.lines == [f"{BEGAN + 11 * EVERY:.0f} 1 0"]
    clocked.now += DENSE
    for _ in range(25):
        await clocked.passes(data=b"x")
    assert len(clocked.lines) == 1 + 3


async def test_after_a_restart_of_the_operator_it_goes_on(clocked: Clocked) -> None:
    await clocked.passes(data=b"one\n")
    clocked.times = Times(clocked.bed.store, clocked.bed.site, "node-1", lambda: clocked.now)
    await clocked.passes(100, data=b"two\n")
    assert await clocked.since(50) == b"two\n"


async def test_an_attempt_that_is_gone_or_elsewhere_is_passed_over(clocked: Clocked) -> None:
    clocked.times = Times(clocked.bed.store, clocked.bed.site, "node-2", lambda: clocked.now)
    await clocked.passes(data=b"x")
    assert clocked.lines == []
    clocked.times = Times(clocked.bed.store, clocked.bed.site, "node-1", lambda: clocked.now)
    clocked.bed.folder.remove()
    await clocked.passes()


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    assert times.offset(tmp_path, "stdout", BEGAN) == 0
    (tmp_path / "times").write_bytes(b"\xff\n1 2\n5 7 8\n10 9 9\n12 1 1\n13 99")
    assert times.offset(tmp_path, "stdout", 5.0) == 7
    assert times.offset(tmp_path, "stderr", 6.0) == 8
    assert times.offset(tmp_path, "stdout", 4.9) == 0
    assert times.offset(tmp_path, "stdout", 1000.0) == 9
