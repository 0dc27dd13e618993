"""Each call to Podman is reported once: when its answer begins, or when there is none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stromboli.errors import HttpFailed, HttpSilent, NotFound, PodmanError, PodmanUnavailable
from stromboli.podman.connection import Connection
from tests.support.fake_http import FakeHttp

Calls = list[tuple[str, int, float | None]]


def made(status: int | Exception) -> tuple[Connection, Calls]:
    """A connection to a Podman that answers with that status, or not at all."""
    calls: Calls = []

    def respond(headers: Mapping[str, str]) -> tuple[int, bytes]:
        if isinstance(status, Exception):
            raise status
        return status, b"{}"

    connection = Connection("/nowhere", lambda *call: calls.append(call))
    connection._http = FakeHttp(respond)  # type: ignore[assignment]
    return connection, calls


@pytest.mark.parametrize(
    ("status", "raised", "told"),
    [
        (204, None, 204),
        (404, NotFound, 404),
        (500, PodmanError, 500),
        (HttpFailed("refused"), PodmanUnavailable, 0),
        (HttpSilent("no answer"), PodmanUnavailable, 0),
    ],
)
async def test_a_call(status: int | Exception, raised: type[Exception] | None, told: int) -> None:
    connection, calls = made(status)
    if raised is None:
        await connection.request("POST", "/containers/a/start")
    else:
        with pytest.raises(raised):
            await connection.request("POST", "/containers/a/start")
    [(operation, reported, seconds)] = calls
    assert (operation, reported) == ("containers start", told)
    assert seconds is not None
    assert 0 <= seconds < 60


async def test_one_that_breaks_off_later_was_answered() -> None:
    connection, calls = made(200)
    with pytest.raises(PodmanUnavailable):
        async with connection.stream("GET", "/containers/a/archive"):
            raise HttpFailed("broken off")
    assert [call[:2] for call in calls] == [("containers archive", 200)]


async def test_a_wait_says_nothing_about_how_fast_podman_is() -> None:
    connection, calls = made(200)
    await connection.request("POST", "/containers/a/wait", silence=None)
    assert calls == [("containers wait", 200, None)]
