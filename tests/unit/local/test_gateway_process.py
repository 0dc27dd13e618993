"""The gateway in the background: what it is given, when it counts as ready, and what is said where it is not."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stromboli.controlplane import certificates, ports
from stromboli.errors import LocalFailure
from stromboli.local import gateway_process
from stromboli.local.gateway_process import Gateway
from stromboli.local.home import Home

# Answers every request with the contents of the file `answer`: a status line and a body.
_SCRIPT = """#!{python} -IS
import os, pathlib, socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{pki}/apiserver.crt", "{pki}/apiserver.key")
host, _, port = os.environ["STROMBOLI_GATEWAY_ADDRESS"].rpartition(":")
with socket.create_server((host, int(port))) as server:
    while True:
        connection, _ = server.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                path = secure.recv(65536).split()[1]
                status, _, body = pathlib.Path("{folder}/answer").read_bytes().partition(b"\\n")
                status = status if path == b"/readyz" else b"404 No"
                length = b"Content-Length: %d" % len(body)
                secure.sendall(b"HTTP/1.1 " + status + b"\\r\\n" + length + b"\\r\\n\\r\\n" + body)
        except OSError:
            continue  # the client is gone
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """One that runs a script where Python would have run the gateway."""
    home = Home(tmp_path / "home")
    home.ensure()
    pki = certificates.ensure(tmp_path / "pki", datetime.now(UTC)).folder
    program = tmp_path / "python"
    program.write_text(_SCRIPT.format(python=sys.executable, pki=pki, folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    (tmp_path / "answer").write_text("200 OK\nok")
    gateway = Gateway(home)
    yield gateway
    gateway.stop()


def started(gateway: Gateway) -> Gateway:
    gateway.start(Path("/k"))
    gateway.await_ready()
    return gateway


def test_ready_once_it_says_so(gateway: Gateway) -> None:
    assert gateway.problem() == "it is not running"
    started(gateway)
    assert gateway.ready()
    assert gateway.stop()
    assert not gateway.ready()


def test_its_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/own")
    environ = gateway.env(Path("/k"))
    assert (environ["PYTHONPATH"], environ["KUBECONFIG"]) == ("/own", "/k"), "what runs here runs there"
    assert "secret" not in environ.values()
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in gateway.env(Path("/k"))


def test_what_it_answers_is_told(gateway: Gateway, tmp_path: Path) -> None:
    started(gateway)
    status = {"kind": "Status", "code": 503, "message": "the API server has no front proxy\x1b[31m"}
    (tmp_path / "answer").write_text(f"503 No\n{json.dumps(status)}")
    assert gateway.problem() == "it answers 503: the API server has no front proxy\\x1b[31m"
    (tmp_path / "answer").write_text("500 No\n" + "x" * 1000)
    assert gateway.problem() == "it answers 500: " + "x" * 300


def test_one_that_hangs_is_not_ready(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    started(gateway)
    monkeypatch.setattr(gateway_process, "_ANSWER_SECONDS", 0.2)
    pid = gateway.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert f"it does not answer at 127.0.0.1:{gateway.port()}" in (gateway.problem() or "")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_port_stays(gateway: Gateway) -> None:
    first = gateway.port()
    started(gateway)
    assert gateway.port() == first
    gateway.stop()
    assert gateway.port() == first


def test_current_until_the_port_changes(gateway: Gateway) -> None:
    assert not gateway.current(), "none is running"
    started(gateway)
    assert gateway.current()
    settled = ports.read(gateway.home.gateway_port, ["gateway"])
    gateway.home.gateway_port.write_text(json.dumps({"gateway": settled["gateway"] - 1}))
    assert not gateway.current()


def test_what_it_is_given(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    env = gateway.env(Path("/k"))
    assert env["KUBECONFIG"] == "/k"
    assert env["STROMBOLI_NAMESPACE"] == "stromboli-system"
    assert env["STROMBOLI_GATEWAY_ADDRESS"] == f"127.0.0.1:{gateway.port()}"
    assert "secret" not in env.values()


def test_its_last_words(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho cannot listen >&2; exit 1\n")
    with pytest.raises(LocalFailure, match="cannot listen"):
        started(gateway)
