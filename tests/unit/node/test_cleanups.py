"""Waiting for Podman's processes that clean up after a container; they are stood in for by ones with such arguments."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stromboli.errors import PodmanError
from stromboli.node import cleanups

LIMIT = 30.0


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these arguments that ends when its standard input does."""
    command = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started


def test_it_returns_once_the_last_has_ended() -> None:
    container = uuid.uuid4().hex
    waiting = threading.Thread(target=cleanups.wait, args=(container,))
    with process("container", "cleanup", container), process("--exit-command-arg", "cleanup", container):
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(LIMIT)
    assert not waiting.is_alive()


def test_others_are_not_waited_for() -> None:
    container = uuid.uuid4().hex
    with process("container", "cleanup", container[:12]), process("container", "start", container):
        cleanups.wait(container)


def test_it_does_not_wait_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanups, "LIMIT", 0.05)
    container = uuid.uuid4().hex
    with process("container", "cleanup", container), pytest.raises(PodmanError, match="still cleaning up"):
        cleanups.wait(container)
