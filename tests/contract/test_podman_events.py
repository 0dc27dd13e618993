"""The event stream: typed, filtered, gapless from `since` on, and an error when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from stromboli.errors import PodmanUnavailable
from stromboli.podman import Podman
from stromboli.podman.events import Event
from tests.contract.conftest import Bed
from tests.support.fake_podman import FakePodman
from tests.support.podman import IsolatedPodman

LIMIT = 20.0


async def test_a_container_s_life_is_told(bed: Bed) -> None:
    began = datetime.now(UTC)
    other = await bed.podman.containers.create(bed.body("true", labels={"contract": "other"}))
    container = await bed.run("sh", "-c", "exit 3")
    await asyncio.wait_for(bed.podman.containers.wait(container), LIMIT)
    await bed.podman.containers.remove(container)
    await bed.podman.containers.remove(other)
    events = await _until(
        bed.podman.events.stream(types=["container"], labels=bed.mark, since=began), container, "remove"
    )
    assert {event.id for event in events} == {container}
    told = [event.action for event in events]
    assert [action for action in told if action in ("create", "start", "died", "remove")] == [
        "create",
        "start",
        "died",
        "remove",
    ]
    died = events[told.index("died")]
    assert (died.type, died.exit_code) == ("container", 3)
    assert died.attributes["contract"] == bed.mark["contract"]
    assert died.name.startswith("contract-")
    assert began - timedelta(seconds=1) <= died.at <= datetime.now(UTC)
    assert [event.exit_code for event in events if event.action != "died"] == [None] * (len(events) - 1)


async def test_what_comes_later_comes_too(bed: Bed) -> None:
    stream = bed.podman.events.stream(labels=bed.mark, actions=["died"], since=datetime.now(UTC))
    container = await bed.run("sleep", "60")
    waiting = asyncio.create_task(_until(stream, container, "died"))
    await bed.podman.containers.kill(container)
    (event,) = await waiting
    assert (event.action, event.exit_code) == ("died", 137)


async def test_an_image_s_removal_is_told(isolated_podman: IsolatedPodman, real: Bed) -> None:
    began = datetime.now(UTC)
    isolated_podman.run("tag", real.files, "localhost/stromboli-test/second:1")
    isolated_podman.run("untag", real.files, "localhost/stromboli-test/second:1")
    image = await real.podman.images.inspect(real.files)
    assert image is not None
    events = await _until(real.podman.events.stream(types=["image"], since=began), image.id, "untag")
    assert {event.type for event in events} == {"image"}


async def test_a_stream_that_ends_is_no_quiet_end(isolated_podman: IsolatedPodman, real: Bed) -> None:
    began = datetime.now(UTC)
    container = await real.podman.containers.create(real.body("true"))
    async with aclosing(real.podman.events.stream(labels=real.mark, since=began)) as stream:
        first = await asyncio.wait_for(anext(stream), LIMIT)
        assert first.id == container
        isolated_podman.kill_service()
        try:
            with pytest.raises(PodmanUnavailable):
                await asyncio.wait_for(anext(stream), LIMIT)
        finally:
            isolated_podman.start_service()


async def test_the_fake_s_stream_breaks_too(fake: FakePodman) -> None:
    fake.fail("GET /events", None)
    async with Podman(fake.socket) as podman, aclosing(podman.events.stream()) as stream:
        with pytest.raises(PodmanUnavailable):
            await asyncio.wait_for(anext(stream), LIMIT)


async def _until(stream: AsyncGenerator[Event, None], container: str, action: str) -> list[Event]:
    """The events up to an action of one object."""
    events: list[Event] = []
    async with asyncio.timeout(LIMIT), aclosing(stream):
        async for event in stream:
            events.append(event)
            if (event.id, event.action) == (container, action):
                return events
    raise AssertionError(f"no {action} of {container} among {events}")
