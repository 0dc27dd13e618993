"""Processes that outlive the command which started them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local.detached import Detached
from stromboli.local.home import Home

ENV = {"PATH": os.defpath}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Detached]:
    home = Home(tmp_path / "home")
    home.ensure()
    process = Detached("thing", home)
    yield process
    process.stop(grace=0.1)


def test_it_runs_until_it_is_stopped(process: Detached) -> None:
    assert process.pid() is None
    pid = process.start(["sleep", "600"], ENV)
    assert process.pid() == pid
    assert process.stop()
    assert process.pid() is None
    assert not process.stop()


def test_what_it_was_started_with(process: Detached) -> None:
    assert process.stamp is None
    process.start(["sleep", "600"], ENV, "version 1")
    assert process.stamp == "version 1"
    process.stop()
    assert process.stamp is None


def test_it_is_in_a_session_of_its_own(process: Detached) -> None:
    pid = process.start(["sleep", "600"], ENV)
    assert os.getsid(pid) == pid


def test_a_killed_one_is_seen_to_be_down(process: Detached) -> None:
    pid = process.start(["sleep", "600"], ENV)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert process.pid() is None


def test_one_that_ignores_term_is_killed(process: Detached) -> None:
    ready = process.home.root / "trapped"
    process.start(["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 600; done"], ENV)
    process.await_ready(ready.exists, 10)
    assert process.stop(grace=0.1)
    assert process.pid() is None


def test_what_it_said_is_told_if_it_ends_too_soon(process: Detached) -> None:
    process.start(["sh", "-c", "echo cannot bind >&2; exit 3"], ENV)
    with pytest.raises(LocalFailure, match=r"(?s)thing ended before it was ready.*cannot bind.*thing\.log"):
        process.await_ready(lambda: False, 10)


def test_waiting_has_a_limit(process: Detached) -> None:
    process.start(["sleep", "600"], ENV)
    with pytest.raises(LocalFailure, match="is not ready after 0 s"):
        process.await_ready(lambda: False, 0.1)


def test_a_program_that_is_not_there(process: Detached) -> None:
    with pytest.raises(LocalFailure, match="no-such-program is not installed"):
        process.start(["no-such-program"], ENV)
