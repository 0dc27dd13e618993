"""Tasks in the background: one that dies is reported, and ends what cannot go on without it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stromboli.errors import ClusterUnavailable, PartDied
from stromboli.supervision import set_within, spawn, together


async def forever() -> None:
    await asyncio.Event().wait()


async def dies() -> None:
    await asyncio.sleep(0)
    raise KeyError("what nobody expected")


async def ends() -> None:
    await asyncio.sleep(0)


async def test_the_end_of_the_main_part_ends_the_others() -> None:
    ended = []

    async def beside() -> None:
        try:
            await forever()
        finally:
            ended.append("beside")

    await together(ends, "main", {"a": beside, "b": beside}, {"c": beside})
    assert ended == ["beside"] * 3


async def test_what_passes_may_end(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()

    async def passing() -> None:
        done.set()

    async def main() -> None:
        await done.wait()
        await asyncio.sleep(0)

    await together(main, "main", {"a": forever}, {"b": passing})
    assert not caplog.records


@pytest.mark.parametrize("where", ["main", "lasting", "passing"])
async def test_one_that_dies_ends_all_and_is_logged(where: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = {name: dies if name == where else forever for name in ("main", "lasting", "passing")}
    with pytest.raises(PartDied, match=rf"^{where} has died \(KeyError\); the log has its traceback$"):
        await together(parts["main"], "main", {"lasting": parts["lasting"]}, {"passing": parts["passing"]})
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.exc_info is not None
    assert "what nobody expected" in str(record.exc_info[1])


async def test_what_is_expected_of_one_turn_is_not_of_a_lasting_part() -> None:
    """Whoever raises it outside a pass has nobody who tries it again."""

    async def away() -> None:
        raise ClusterUnavailable("connection refused")

    with pytest.raises(PartDied, match="ClusterUnavailable"):
        await together(forever, "main", {"lasting": away}, {})


async def test_one_that_should_last_and_ends_ends_all(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PartDied, match=r"^lasting has returned, although it should run forever$"):
        await together(forever, "main", {"lasting": ends}, {})
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


async def test_a_main_part_that_says_why_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        raise PartDied("it has ended by itself")

    with pytest.raises(PartDied, match=r"^it has ended by itself$"):
        await together(main, "main", {"lasting": forever}, {})
    assert len(caplog.records) == 1


async def test_a_spawned_task_that_dies_is_logged_and_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(dies(), "event Started")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    [record] = caplog.records
    assert record.getMessage() == "event Started: unexpected error"
    assert record.exc_info is not None


async def test_a_spawned_task_that_is_cancelled_or_ends_is_nothing_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    cancelled, done = spawn(forever(), "a"), spawn(ends(), "b")
    cancelled.cancel()
    await asyncio.wait([cancelled, done])
    await asyncio.sleep(0)
    assert not caplog.records


async def test_an_event_is_awaited_no_longer_than_is_said() -> None:
    event = asyncio.Event()
    await set_within(event, 0.01)
    assert not event.is_set()
    waiting = asyncio.create_task(set_within(event, None))
    await asyncio.sleep(0.02)
    assert not waiting.done(), "without a limit, only the event ends it"
    event.set()
    await asyncio.wait_for(waiting, 5)
