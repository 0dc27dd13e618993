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

from stromboli.local.gateway_process import GatewayProcess
from stromboli.local.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


@pytest.fixture(params=["standin", "relay"])
def gateway(request: pytest.FixtureRequest, home: Home) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(home, request.param, {"PATH": os.defpath, "ANTHROPIC_API_KEY": "sk-secret"})
    yield gateway
    gateway.stop()


def up(gateway: GatewayProcess) -> bool:
    if gateway.name == "relay":
        return gateway.up("--to", "http://127.0.0.1:9")
    return gateway.up("--log", str(gateway.home.logs / "requests.jsonl"))


def test_up_and_up_again_after_a_kill_until_it_is_retired(gateway: GatewayProcess) -> None:
    assert not gateway.wanted
    assert up(gateway)
    assert gateway.wanted
    assert gateway.ready()
    assert not up(gateway)
    assert stat.S_IMODE(gateway.folder.stat().st_mode) == 0o755
    assert [p.name for p in gateway.folder.iterdir()] == ["api.sock"], "agents see the socket and nothing else"
    pid = gateway.pid()
    assert pid is not None
    assert b"sk-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not gateway.ready()
    assert up(gateway)
    assert gateway.ready()
    for _ in range(2):
        gateway.retire()
        assert gateway.pid() is None
        assert not gateway.wanted


def test_a_relay_says_what_it_cannot_reach(home: Home) -> None:
    """In the shape of an API error, whose message the CLI shows."""
    relay = GatewayProcess(home, "relay", {"PATH": os.defpath})
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
