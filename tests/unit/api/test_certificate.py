"""The read API's certificate: made once, kept, and made anew where the one that is kept will not do."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stromboli.api import certificate, issue
from stromboli.api.certificate import FILE, Certificate, ensure, server_context
from stromboli.errors import LocalFailure

NOW = datetime.now(UTC)
HOST = "192.0.2.7"
ALWAYS = ["127.0.0.1", "::1", "localhost"]
MADE = issue.make([*ALWAYS, HOST], NOW)


def write(home: Path, **differs: Any) -> None:
    (home / FILE).write_text(json.dumps({**MADE.to_json(), **differs}))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The hosts of each certificate that is made; in this process, so that it takes no time."""
    asked: list[list[str]] = []

    def make(hosts: list[str]) -> Certificate:
        asked.append(hosts)
        return issue.make(hosts, NOW)

    monkeypatch.setattr(certificate, "_create", make)
    return asked


def greet(served: Certificate, name: str) -> None:
    """A client that trusts the authority of this certificate shakes hands with a server that has it."""
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=_answer, args=(served, theirs), daemon=True)
    try:
        with ours:
            serving.start()
            ssl.create_default_context(cadata=served.authority).wrap_socket(ours, server_hostname=name).close()
    finally:
        serving.join(10)


def _answer(served: Certificate, theirs: socket.socket) -> None:
    with theirs, suppress(ssl.SSLError, OSError):  # the client says why
        server_context(served).wrap_socket(theirs, server_side=True).close()


def test_the_first_start_makes_it_and_the_next_have_it(tmp_path: Path) -> None:
    """By the program itself."""
    first = ensure(tmp_path, HOST, NOW)
    assert ensure(tmp_path, HOST, NOW) == first
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    for name in ("127.0.0.1", "localhost", HOST):
        greet(first, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(first, "elsewhere.example")
    assert "PRIVATE" not in first.authority


def test_what_is_kept_is_taken(home: Path, made: list[list[str]]) -> None:
    assert ensure(home, HOST, NOW) == MADE
    assert made == []


@pytest.mark.parametrize(
    "differs",
    [
        {"authority": "x"},
        {"authority": None},
        {"chain": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        {"chain": MADE.authority},
        {"chain": "ü"},
        {"chain": issue.make(ALWAYS, NOW).chain.partition("-----BEGIN CERT")[0] + MADE.authority},
        {"hosts": 1},
        {"hosts": ALWAYS},
        {"until": "soon"},
        {"until": 7},
        {"until": "2036-01-01T00:00:00"},
        {"until": (NOW + timedelta(days=300)).isoformat()},
        {"until": (NOW - timedelta(days=1)).isoformat()},
    ],
)
def test_what_will_not_do_is_made_anew(home: Path, made: list[list[str]], differs: dict[str, Any]) -> None:
    write(home, **differs)
    new = ensure(home, HOST, NOW)
    assert made == [sorted([*ALWAYS, HOST])]
    greet(new, HOST)
    assert ensure(home, HOST, NOW) == new
    assert len(made) == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b"{", b"\xff", b"{}"])
def test_a_file_that_is_none_is_said(
    home: Path, made: list[list[str]], text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (home / FILE).write_bytes(text)
    ensure(home, HOST, NOW)
    assert len(made) == 1
    assert f"{home / FILE} is not a valid certificate" in caplog.text


def test_another_address_has_another(home: Path, made: list[list[str]]) -> None:
    ensure(home, "agents.example", NOW)
    assert made == [sorted([*ALWAYS, "agents.example"])]


def test_a_home_that_cannot_be_written(tmp_path: Path, made: list[list[str]], caplog: pytest.LogCaptureFixture) -> None:
    greet(ensure(tmp_path / "gone", HOST, NOW), HOST)
    assert "the next start creates another" in caplog.text


def test_what_keeps_it_from_being_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LocalFailure, match=r"could not be created: .*/nowhere/python"):
        ensure(tmp_path, HOST, NOW)


def test_a_program_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho first >&2; echo the reason >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(LocalFailure, match="could not be created: the reason"):
        ensure(tmp_path / "home", HOST, NOW)


def test_the_operator_holds_no_library_that_signs_and_no_validator_of_schemas() -> None:
    """Which take tens of megabytes: only the processes that need them load them."""
    held = "import sys, stromboli.handlers.run; print('cryptography' in sys.modules, 'jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]
