"""A pull's stream: the progress that it says, and how long each of its silences may be."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest

from stromboli.errors import PodmanError, PullFailed
from stromboli.podman import pulls
from stromboli.podman.pulls import PullProgress, auth_header, follow
from stromboli.registry_credentials import IdentityToken, Login
from stromboli.registry_problem import RegistryProblem

MIB = 1 << 20
BEGUN = {"id": "a", "status": "Pulling fs layer", "progressDetail": {}}
OTHER = {"id": "b", "status": "Pulling fs layer", "progressDetail": {}}
HALF = {"id": "a", "status": "Downloading", "progressDetail": {"current": MIB, "total": 2 * MIB}}
COMPLETE = {"id": "a", "status": "Download complete", "progressDetail": {}}
HERE = {"id": "b", "status": "Already exists", "progressDetail": {}}


async def stream(*entries: object, goes_on: bool = False) -> AsyncIterator[bytes]:
    for entry in entries:
        yield json.dumps(entry).encode()
    if goes_on:
        await asyncio.Event().wait()


async def told(*entries: object) -> list[PullProgress]:
    found: list[PullProgress] = []
    await follow("registry.test/x:1", stream(*entries), found.append)
    return found


async def test_what_each_line_adds() -> None:
    assert await told(BEGUN, HALF, HALF, OTHER, COMPLETE, COMPLETE, HERE) == [
        PullProgress(0, 0, 0, 1),
        PullProgress(MIB, 2 * MIB, 0, 1),
        PullProgress(MIB, 2 * MIB, 0, 2),
        PullProgress(2 * MIB, 2 * MIB, 1, 2),
        PullProgress(2 * MIB, 2 * MIB, 2, 2),
    ]


async def test_lines_that_say_nothing_of_a_layer() -> None:
    assert await told({}, {"status": "Trying to pull registry.test/x:1"}, {"id": ""}) == []
    await follow("registry.test/x:1", _blank(), lambda _: None)


async def _blank() -> AsyncIterator[bytes]:
    yield b""
    yield b"  \r"


def test_its_text() -> None:
    assert str(PullProgress(MIB, 3 * MIB, 1, 2)) == "1.0 of 3.0 MiB, 1 of 2 layers"
    assert str(PullProgress(0, 0, 1, 2)) == "", "no size is known yet"


@pytest.mark.parametrize(
    ("entries", "silence"),
    [
        ([], "ASKING"),
        ([BEGUN], "FETCHING"),
        ([BEGUN, HALF], "FETCHING"),
        ([BEGUN, COMPLETE], "UNPACKING"),
        ([BEGUN, COMPLETE, OTHER], "FETCHING"),
        ([BEGUN, COMPLETE, HERE], "UNPACKING"),
    ],
)
async def test_how_long_a_silence_may_be(entries: list[object], silence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASKING", "FETCHING", "UNPACKING"):
        monkeypatch.setattr(pulls, name, 0.01 if name == silence else 60.0)
    with pytest.raises(PullFailed, match="nothing came from its registry") as caught:
        async with asyncio.timeout(10):
            await follow("registry.test/x:1", stream(*entries, goes_on=True), lambda _: None)
    assert caught.value.problem is RegistryProblem.SILENT


@pytest.mark.parametrize(
    "entry", [[], 7, "x", {"id": "a", "progressDetail": {"total": "many"}}, {"id": "a", "progressDetail": 7}]
)
async def test_a_line_of_another_shape(entry: object) -> None:
    with pytest.raises(PodmanError, match="unexpected shape"):
        await told(entry)


def test_credentials_in_the_header() -> None:
    for credentials, expected in (
        (Login("reader", "open säsame"), {"username": "reader", "password": "open säsame"}),
        (IdentityToken("refresh-me"), {"identitytoken": "refresh-me"}),
    ):
        (value,) = auth_header(credentials).values()
        assert json.loads(base64.urlsafe_b64decode(value)) == expected
