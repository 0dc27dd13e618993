"""Stopping and removing a container that ends by itself at the same moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stromboli.errors import PodmanError
from stromboli.httpclient import Response
from stromboli.podman import failures
from stromboli.podman.containers import Containers


def answered(status: int, said: object) -> Response:
    return Response(status, {}, json.dumps(said).encode())


REFUSED = answered(
    500,
    {
        "cause": "container state improper",
        "message": "cannot remove container X as it could not be stopped: sending SIGKILL to container X: "
        "container state improper: stopped",
    },
)
REMOVED = answered(200, [{"Id": "X"}])


class Scripted:
    """A connection to a Podman that gives these answers to what ends a container, whose status is always `status`."""

    def __init__(self, status: str | None, *answers: Response) -> None:
        self._status, self._answers = status, iter(answers)
        self.ends = 0

    async def request(self, method: str, path: str, **_: object) -> Response:
        if method == "GET":
            return self._inspected(path)
        self.ends += 1
        answer = next(self._answers)
        if answer.status >= 400:
            raise failures.refusal(answer.status, answer.content, f"{method} {path}")
        return answer

    def _inspected(self, path: str) -> Response:
        if self._status is None:
            raise failures.refusal(404, b'{"cause": "no such container"}', f"GET {path}")
        times = {"StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "2026-01-01T00:00:01Z"}
        state = {"Status": self._status, "Running": False, "ExitCode": 0, "OOMKilled": False, "Pid": 0, "Error": ""}
        body = {"Id": "X", "Name": "x", "Image": "i", "Config": {"Labels": None}, "State": state | times}
        return answered(200, body)


CALLS: dict[str, Callable[[Containers], Any]] = {"remove": lambda c: c.remove("X"), "stop": lambda c: c.stop("X")}


@pytest.fixture(params=CALLS)
def end(request: pytest.FixtureRequest) -> Callable[[Containers], Any]:
    """Each call that ends a container."""
    return CALLS[request.param]


@pytest.mark.parametrize("refusals", [1, 3])
async def test_a_container_that_ended_meanwhile_is_tried_again(end: Callable[[Containers], Any], refusals: int) -> None:
    podman = Scripted("stopped", *[REFUSED] * refusals, REMOVED)
    assert await end(Containers(podman)) is True  # type: ignore[arg-type]
    assert podman.ends == refusals + 1


async def test_tries_are_bounded(end: Callable[[Containers], Any]) -> None:
    podman = Scripted("stopped", *[REFUSED] * 9)
    with pytest.raises(PodmanError, match="container state improper"):
        await end(Containers(podman))  # type: ignore[arg-type]
    assert podman.ends == 4


async def test_a_container_that_still_runs_is_not_tried_again(end: Callable[[Containers], Any]) -> None:
    podman = Scripted("running", *[REFUSED] * 9)
    with pytest.raises(PodmanError):
        await end(Containers(podman))  # type: ignore[arg-type]
    assert podman.ends == 1


async def test_a_container_that_another_client_removed_is_gone(end: Callable[[Containers], Any]) -> None:
    podman = Scripted(None, REFUSED)
    assert await end(Containers(podman)) is False  # type: ignore[arg-type]
