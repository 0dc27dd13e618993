"""The operator in the background: what it is given, and when it counts as ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stromboli
from stromboli.errors import LocalFailure
from stromboli.local.home import Home
from stromboli.local.operator_process import Operator


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    home = Home(tmp_path / "home")
    home.ensure()
    home.settings.write_text("agent: {}\n")
    operator = Operator(home)
    yield operator
    operator.stop()


def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run a shell script where Python would have run the operator."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def start(operator: Operator) -> None:
    operator.start(Path("/k"), Path("/p.sock"), {"PATH": os.defpath})


def test_ready_once_it_says_so(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, 'echo $$ > "$STROMBOLI_HOME/operator.ready"; exec sleep 600')
    assert not operator.ready()
    start(operator)
    assert operator.ready()
    assert operator.stop()
    assert not operator.ready()
    assert not operator.home.operator_ready.exists()


# Answers every request with one check that fails, and one that does not.
ANSWERS = """
import http.server, os

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b"[-]podman failed: it is \\x1baway\\n[+]disk ok\\nreadyz check failed\\n")

host, _, port = os.environ["STROMBOLI_HEALTH_ADDRESS"].partition(":")
server = http.server.HTTPServer((host, int(port)), Answer)
open(os.environ["STROMBOLI_HOME"] + "/operator.ready", "w").write(str(os.getpid()))
server.serve_forever()
"""


def test_what_it_says_is_wrong_is_known(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (operator.problem(), operator.metrics()) == (None, None), "none is running"
    (tmp_path / "answers.py").write_text(ANSWERS)
    pretend(tmp_path, monkeypatch, f"exec {sys.executable} {tmp_path}/answers.py")
    start(operator)
    assert operator.problem() == "podman failed: it is \\x1baway"
    assert operator.metrics() == f"http://{operator.env(tmp_path, tmp_path, {})['STROMBOLI_HEALTH_ADDRESS']}/metrics"
    operator.stop()
    assert operator.problem() is None


def test_one_that_says_nothing_is_told(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, 'echo $$ > "$STROMBOLI_HOME/operator.ready"; exec sleep 600')
    start(operator)
    said = operator.problem()
    assert said is not None
    assert said.startswith("it does not answer at 127.0.0.1:")


def test_current_until_settings_or_code_change(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, 'echo $$ > "$STROMBOLI_HOME/operator.ready"; exec sleep 600')
    assert not operator.current(), "none is running"
    start(operator)
    assert operator.current()
    operator.home.settings.write_text("agent: {image: other}\n")
    assert not operator.current()
    operator.home.settings.write_text("agent: {}\n")
    assert operator.current()
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(stromboli, "__file__", str(package / "__init__.py"))
    assert not operator.current()


def test_the_word_of_an_earlier_one_does_not_count(operator: Operator) -> None:
    operator.process.start(["sleep", "600"], {"PATH": os.defpath})
    operator.home.operator_ready.write_text("1")
    assert not operator.ready()
    operator.home.operator_ready.write_text("")
    assert not operator.ready()


def test_its_last_words(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "echo agent.cli_imge: there is no such key >&2; exit 1")
    with pytest.raises(LocalFailure, match="there is no such key"):
        start(operator)


def test_what_it_is_given(operator: Operator) -> None:
    environ = {"STROMBOLI_AGENT_IMAGE": "x", "HTTPS_PROXY": "p", "ANTHROPIC_API_KEY": "secret", "KUBECONFIG": "/other"}
    environ |= {"STROMBOLI_NAMESPACE": "other"}
    env = operator.env(Path("/k"), Path("/p.sock"), environ)
    assert "STROMBOLI_AGENT_IMAGE" not in env, "it is in the settings file, with what came of it"
    assert env["HTTPS_PROXY"] == "p"
    assert env["KUBECONFIG"] == "/k"
    assert env["CONTAINER_HOST"] == "unix:///p.sock"
    assert env["STROMBOLI_HOME"] == str(operator.home.root)
    assert env["STROMBOLI_NAMESPACE"] == "stromboli-system", "where the gateway looks for it"
    assert "secret" not in env.values()
