"""A session's state file: complete or absent, synced to disk, and readable by older and newer operators."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path

import pytest

from stromboli.attempt import session_state
from stromboli.attempt.session_state import SessionState
from stromboli.errors import LocalFailure

WHOLE = SessionState("c1", "h1", "2026-01-31T12:00:00Z", True, "copied", "h0", 1.25, 0.5, "run-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_what_is_written_is_read(path: Path) -> None:
    assert all(getattr(WHOLE, f.name) != getattr(SessionState(), f.name) for f in fields(SessionState)), (
        "each field is told apart"
    )
    session_state.write(path, WHOLE)
    assert session_state.read(path) == WHOLE


def test_nothing_is_known_without_a_file(path: Path) -> None:
    assert session_state.read(path) == SessionState()


def test_what_a_newer_operator_wrote_is_passed_over(path: Path) -> None:
    path.write_text(json.dumps({"begun": True, "moons": 2}))
    assert session_state.read(path) == SessionState(begun=True)


def test_what_an_older_operator_did_not_write_is_unknown(path: Path) -> None:
    path.write_text(json.dumps({"container": "c1"}))
    assert session_state.read(path) == SessionState(container="c1")


def test_a_copy_of_nothing_is_not_the_same_as_no_copy(path: Path) -> None:
    session_state.write(path, SessionState(copy=""))
    assert session_state.read(path).copy == ""


def test_one_replaces_the_other_and_nothing_else_is_left(path: Path) -> None:
    session_state.write(path, WHOLE)
    session_state.write(path, SessionState(begun=True))
    assert session_state.read(path) == SessionState(begun=True)
    assert [p.name for p in path.parent.iterdir()] == ["state"]


def test_the_file_and_then_its_name_are_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order: otherwise a crash could leave the name with an empty file."""
    synced: list[tuple[str, bool]] = []

    def sync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    session_state.write(path, WHOLE)
    assert synced == [(str(path.with_name(".state.new")), False), (str(path.parent), True)]


def test_a_write_that_fails_leaves_the_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session_state.write(path, WHOLE)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            session_state.write(path, SessionState(begun=True))
    assert session_state.read(path) == WHOLE
    session_state.write(path, SessionState(begun=True))
    assert session_state.read(path) == SessionState(begun=True), "what was left half written is no obstacle"


def test_what_cannot_be_read_is_not_called_missing(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        session_state.read(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"begun": {}}', b'{"spent": "much"}'])
def test_a_broken_file_is_said_and_not_taken_for_none(path: Path, content: bytes) -> None:
    """If it counted as absent, a fork would be copied again over its own conversation, and a lost volume unnoticed."""
    path.write_bytes(content)
    with pytest.raises(LocalFailure, match="state"):
        session_state.read(path)
