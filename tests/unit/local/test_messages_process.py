"""Stand-in and relay in the background: the real ones, on their sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.local.home import Home
from stromboli.local.messages_process import MessagesProcess


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


@pytest.fixture(params=["standin", "relay"])
def messages(request: pytest.FixtureRequest, home: Home) -> Iterator[MessagesProcess]:
    messages = MessagesProcess(home, request.param, {"PATH": os.defpath, "ANTHROPIC_API_KEY": "sk-secret"})
    yield messages
    messages.stop()


def up(messages: MessagesProcess) -> bool:
    if messages.name == "relay":
        return messages.up("--to", "http://127.0.0.1:9")
    return messages.up("--log", str(messages.home.logs / "requests.jsonl"))


def test_up_and_up_again_after_a_kill_until_it_is_retired(messages: MessagesProcess) -> None:
    assert not messages.wanted
    assert up(messages)
    assert messages.wanted
    assert messages.ready()
    assert not up(messages)
    assert stat.S_IMODE(messages.folder.stat().st_mode) == 0o755
    assert [p.name for p in messages.folder.iterdir()] == ["api.sock"], "agents see the socket and nothing else"
    pid = messages.pid()
    assert pid is not None
    assert b"sk-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not messages.ready()
    assert up(messages)
    assert messages.ready()
    for _ in range(2):
        messages.retire()
        assert messages.pid() is None
        assert not messages.wanted


def test_a_relay_says_what_it_cannot_reach(home: Home) -> None:
    """In the shape of an API error, whose message the CLI shows."""
    relay = MessagesProcess(home, "relay", {"PATH": os.defpath})
    try:
        relay.up("--to", "http://127.0.0.1:9")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(relay.socket))
            client.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    finally:
        relay.stop()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 502 " in head.splitlines()[0]
    assert "cannot reach 127.0.0.1:9" in json.loads(body)["error"]["message"]
