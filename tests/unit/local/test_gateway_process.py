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
from tests.support.gateways import free_port

# Answers every request with the contents of the file `answer`: a status line and a body.
# Over plain HTTP, where the HTTP API would be, it answers with that of the file `health`.
_SCRIPT = """#!{python} -IS
import http.server, os, pathlib, socket, ssl, threading

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, _, body = pathlib.Path("{folder}/health").read_bytes().partition(b"\\n")
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write(body)

host, _, port = os.environ["STROMBOLI_SERVER_ADDRESS"].rpartition(":")
health = http.server.HTTPServer((host, int(port)), Health)
threading.Thread(target=health.serve_forever).start()
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
    (tmp_path / "health").write_text("200\n{}")
    home.gateway_settings.write_text("server: {address: '127.0.0.1:0'}\n")
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
    environ = gateway.env(Path("/k"), ("127.0.0.1", 1))
    assert (environ["PYTHONPATH"], environ["KUBECONFIG"]) == ("/own", "/k"), "what runs here runs there"
    assert "secret" not in environ.values()
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in gateway.env(Path("/k"), ("127.0.0.1", 1))


def test_what_it_answers_is_told(gateway: Gateway, tmp_path: Path) -> None:
    started(gateway)
    status = {"kind": "Status", "code": 503, "message": "the API server has no front proxy\x1b[31m"}
    (tmp_path / "answer").write_text(f"503 No\n{json.dumps(status)}")
    assert gateway.problem() == "it answers 503: the API server has no front proxy\\x1b[31m"
    (tmp_path / "answer").write_text("500 No\n" + "x" * 1000)
    assert gateway.problem() == "it answers 500: " + "x" * 300


def test_its_http_api_has_to_answer_whatever_it_says(gateway: Gateway, tmp_path: Path) -> None:
    assert gateway.http_api.url() is None
    assert gateway.http_api.problem() == "the HTTP API was never started"
    started(gateway)
    url = gateway.http_api.url()
    assert url is not None
    parts = [{"name": "api-server", "error": ""}, {"name": "operators", "error": "none is ready\x1b"}]
    (tmp_path / "health").write_text("503\n" + json.dumps({"components": parts}))
    assert gateway.ready(), "the operator may not be there yet"
    assert gateway.http_api.trouble() == "it answers 503: operators: none is ready\\x1b"
    (tmp_path / "health").write_text("500\n" + "x" * 1000)
    assert gateway.http_api.trouble() == "it answers 500: " + "x" * 300
    (tmp_path / "health").write_text("200\n{}")
    assert gateway.http_api.trouble() is None
    gateway.home.http_address.write_text(f"127.0.0.1:{free_port()}")
    assert (gateway.problem() or "").startswith("the HTTP API does not answer at 127.0.0.1:")
    assert gateway.http_api.trouble() == gateway.problem()


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


def test_current_until_port_or_settings_change(gateway: Gateway) -> None:
    assert not gateway.current(), "none is running"
    started(gateway)
    assert gateway.current()
    gateway.home.gateway_settings.write_text("server: {address: '127.0.0.1:0', body_limit: 1m}\n")
    assert not gateway.current()
    gateway.home.gateway_settings.write_text("server: {address: '127.0.0.1:0'}\n")
    assert gateway.current()
    settled = ports.read(gateway.home.gateway_port, ["gateway"])
    gateway.home.gateway_port.write_text(json.dumps({"gateway": settled["gateway"] - 1}))
    assert not gateway.current()


def test_what_it_is_given(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    env = gateway.env(Path("/k"), ("", 8080))
    assert env["KUBECONFIG"] == "/k"
    assert env["STROMBOLI_NAMESPACE"] == "stromboli-system"
    assert env["STROMBOLI_GATEWAY_ADDRESS"] == f"127.0.0.1:{gateway.port()}"
    assert env["STROMBOLI_SERVER_ADDRESS"] == ":8080"
    assert env["STROMBOLI_LOCAL_KUBECONFIG"] == "/k", "calls over loopback are this user's"
    assert "secret" not in env.values()


def test_its_last_words(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho cannot listen >&2; exit 1\n")
    with pytest.raises(LocalFailure, match="cannot listen"):
        started(gateway)
