"""The stand-in in the background: the real one, on its socket."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.local.home import Home
from stromboli.local.standin_process import StandinProcess


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[StandinProcess]:
    home = Home(tmp_path / "home")
    home.ensure()
    standin = StandinProcess(home)
    yield standin
    standin.stop()


def test_up_down_and_up_again_after_a_kill(standin: StandinProcess) -> None:
    assert not standin.wanted
    assert standin.up()
    assert standin.wanted
    assert not standin.up()
    assert stat.S_IMODE(standin.home.standin.stat().st_mode) == 0o755
    pid = standin.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert standin.up()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(standin.home.standin_socket))


def test_agents_see_the_socket_and_no_log(standin: StandinProcess) -> None:
    standin.up()
    assert [p.name for p in standin.home.standin.iterdir()] == ["api.sock"]


def test_retired_it_is_not_wanted_any_more(standin: StandinProcess) -> None:
    standin.up()
    standin.retire()
    assert standin.pid() is None
    assert not standin.wanted
    standin.retire()
    assert not standin.wanted
