"""Programs that are awaited: what they print, how they end, and that none outlives its time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stromboli import childprocess
from stromboli.childprocess import Ended


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


async def test_what_it_prints_and_how_it_ends() -> None:
    found = await childprocess.run(shell("cat; echo one >&2; echo two >&2; exit 3"), b"given", seconds=30)
    assert found == Ended(3, b"given", b"one\ntwo\n")
    assert found.last_words("nothing") == "two"


async def test_it_may_print_nothing_and_be_killed() -> None:
    found = await childprocess.run(shell("kill -9 $$"), b"", seconds=30)
    assert found.exit_code == -9
    assert found.last_words("nothing") == "nothing"


async def test_its_environment() -> None:
    found = await childprocess.run(shell("echo $ONLY$HOME"), b"", seconds=30, env={"ONLY": "this"})
    assert found.output == b"this\n"


async def test_it_is_killed_after_its_time(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await childprocess.run(shell(f"echo $$ >{pid}; exec sleep 60"), b"", seconds=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_it_is_killed_with_whoever_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(begun := tmp_path / "begun")
    waiting = asyncio.create_task(childprocess.run(shell(f"echo $$ >{begun}; exec sleep 60"), b"", seconds=30))
    pid = int(await asyncio.to_thread(begun.read_text))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        await childprocess.run(["/nowhere"], b"", seconds=30)
