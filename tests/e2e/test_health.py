"""/healthz and /readyz of a real operator, while its Podman goes away and comes back."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.waiting import eventually

WITHIN = 60.0  # seconds; Podman has to be away for 15 s before that counts


@pytest.fixture
def service(isolated_podman: IsolatedPodman) -> Iterator[IsolatedPodman]:
    """The Podman service; it is restarted after the test if it is down."""
    yield isolated_podman
    isolated_podman.start_service()


@pytest.fixture
def address(new_operator: Callable[[], OperatorProcess]) -> Iterator[str]:
    """Where an operator of the test's own says how it is."""
    process = new_operator()
    before = process.log.stat().st_size if process.log.exists() else 0
    process.environ = {**process.environ, "STROMBOLI_HEALTH_ADDRESS": "127.0.0.1:0"}
    with process:
        found = re.search(
            r"/healthz, /readyz and /metrics are served at (http://\S+)", process.log.read_text()[before:]
        )
        assert found is not None, process.last_words()
        yield found[1]


def asked(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def test_a_podman_that_is_away_is_said_and_is_no_reason_for_a_restart(address: str, service: IsolatedPodman) -> None:
    def answer() -> tuple[int, str]:
        return asked(address, "/readyz")

    eventually(lambda: answer() == (200, "ok\n"), "readiness", answer, WITHIN)
    status, text = asked(address, "/readyz?verbose")
    assert status == 200
    checks = re.findall(r"^\[\+\](\S+) ok$", text, re.MULTILINE)
    assert {"podman", "api-server", "watch", "cli-image", "disk", "sweep", "watching", "parts", "passes"} <= set(checks)

    service.kill_service()
    eventually(lambda: answer()[0] == 503, "not ready", answer, WITHIN)
    assert re.search(r"^\[-\]podman failed: .*Podman.* \(for \d+ s\)$", answer()[1], re.MULTILINE), answer()[1]
    assert asked(address, "/healthz") == (200, "ok\n")
    assert asked(address, "/readyz/disk") == (200, "ok\n")

    service.start_service()
    eventually(lambda: answer() == (200, "ok\n"), "readiness again", answer, WITHIN)
