"""The secrets that attempts were given: kept for each, merged, and found where an earlier version kept them."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from stromboli.attempt import folder, given, usage
from stromboli.attempt.folder import SessionFolder
from stromboli.plan.redaction import KEYS, Secrets

UID = "0b2c6f7e-0000-4000-8000-000000000001"
ONE, TWO = f"{UID}-1", f"{UID}-2"


@pytest.fixture
def session(tmp_path: Path) -> SessionFolder:
    return SessionFolder(tmp_path / "home", tmp_path / "run", UID)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run/given" / UID


def ended(session: SessionFolder, number: int, output: bytes) -> Path:
    out = session.attempt(UID, number) / "out"
    out.mkdir(parents=True)
    (out / "stdout").write_bytes(output)
    return out


def test_each_attempt_has_its_own_and_what_it_was_given_twice_is_merged(session: SessionFolder, place: Path) -> None:
    assert not session.read_given(ONE).known
    session.write_given(ONE, Secrets(["the first secret"]))
    session.write_given(TWO, Secrets(["the second secret"]))
    session.write_given(TWO, Secrets(["the third secret"]))
    assert session.read_given(ONE).values == ("the first secret",)
    assert session.read_given(TWO).values == ("the second secret", "the third secret")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    session.remove_secrets()  # those for a start
    assert session.read_given(ONE).known


def test_what_a_conversation_may_have_is_known_in_the_session_and_in_its_forks(
    session: SessionFolder, tmp_path: Path
) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    session.write_given(TWO, Secrets(["the second secret"]))
    session.write_given(given.SERVICES, Secrets(["a service's secret"]))
    assert session.given_before(TWO).values == ("the first secret",)
    session.forget_given(ONE)
    assert session.given_before(TWO).values == ()
    fork = SessionFolder(tmp_path / "home", tmp_path / "run", "fork")
    fork.inherit_given(session)
    assert fork.given_before("fork-1").values == ("the second secret",)
    again = SessionFolder(tmp_path / "home", tmp_path / "run", "again")
    again.inherit_given(fork)
    assert again.given_before("again-1").values == ("the second secret",)


def test_of_too_much_the_newest_is_known(session: SessionFolder, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_MOST", 20)
    for number, name in enumerate((ONE, TWO)):
        session.write_given(name, Secrets([f"the secret of {number}"]))
        os.utime(place / name, (number, number))
    assert session.given_before(f"{UID}-3").values == ("the secret of 1",)


def test_they_go_with_the_session_and_with_the_attempt(session: SessionFolder, place: Path, tmp_path: Path) -> None:
    session.write_given(ONE, Secrets(()))
    session.write_given(TWO, Secrets(()))
    assert folder.with_given(tmp_path / "run") == {UID}
    assert folder.with_secrets(tmp_path / "run") == set()
    session.forget_given(ONE)
    assert (session.read_given(ONE).known, session.read_given(TWO).known) == (False, True)
    session.forget_given(TWO)
    session.forget_given(TWO)
    assert not place.exists()
    session.write_given(ONE, Secrets(()))
    session.remove()
    assert folder.with_given(tmp_path / "run") == set()


def test_the_file_of_an_earlier_version_is_found_and_becomes_one_of_many(session: SessionFolder, place: Path) -> None:
    place.parent.mkdir(parents=True, mode=0o700)
    place.parent.parent.chmod(0o700)
    place.write_text(json.dumps({"attempt": ONE, "values": ["the old secret"]}))
    assert session.read_given(ONE).values == ("the old secret",)
    assert not session.read_given(TWO).known
    session.write_given(TWO, Secrets(["the new secret"]))
    assert session.read_given(ONE).values == ("the old secret",)
    assert session.read_given(TWO).values == ("the new secret",)
    assert {path.name for path in place.iterdir()} == {ONE, TWO}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": "../x", "values": []}', '{"attempt": 1}'])
def test_a_file_that_is_none_is_replaced(session: SessionFolder, place: Path, content: str) -> None:
    place.parent.mkdir(parents=True, mode=0o700)
    place.parent.parent.chmod(0o700)
    place.write_text(content)
    assert not session.read_given(ONE).known
    session.forget_given(ONE)
    session.write_given(ONE, Secrets(()))
    assert [path.name for path in place.parent.rglob("*") if path.is_file()] == [ONE]


@pytest.mark.parametrize("name", ["../x", "", ".", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused(session: SessionFolder, place: Path, name: str) -> None:
    for call in (session.read_given, session.forget_given, lambda name: given.write(place, name, KEYS)):
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            call(name)


# --- an output without any ---


def test_of_an_output_without_a_secret_only_that_is_kept(session: SessionFolder, place: Path) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    out = ended(session, 1, b"nothing\n" * 1_000_000)
    session.settle_given(ONE)
    assert not place.exists()
    assert session.read_given(ONE).values == ()
    assert session.read_given(ONE).known
    assert (out.parent / "no-secrets").is_file()
    session.settle_given(ONE)


@pytest.mark.parametrize("name", ["stdout", "stdout.old", "stderr", "postStart.0", "anything"])
def test_one_secret_anywhere_keeps_them(session: SessionFolder, name: str) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    out = ended(session, 1, b"x" * 100)
    (out / name).write_bytes(b"x" * 1_048_570 + b"the first secret" + b"x" * 100)
    session.settle_given(ONE)
    assert session.read_given(ONE).values == ("the first secret",)


def test_one_across_a_rotation_keeps_them(session: SessionFolder) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    out = ended(session, 1, b"secret")
    (out / "stdout.old").write_bytes(b"the first ")
    session.settle_given(ONE)
    assert session.read_given(ONE).values == ("the first secret",)


@pytest.mark.parametrize("name", ["stdout", "stdout.old", "stderr"])
def test_one_that_cannot_be_read_keeps_them(session: SessionFolder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    out = ended(session, 1, b"x")
    (out / name).write_bytes(b"the first secret")
    real = os.open

    def refusing(path: Any, *how: Any, **more: Any) -> int:
        if path == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *how, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        session.settle_given(ONE)
    assert session.read_given(ONE).values == ("the first secret",)


def test_what_is_not_known_or_gone_is_not_noted(session: SessionFolder) -> None:
    ended(session, 1, b"x")
    session.settle_given(ONE)
    assert not session.read_given(ONE).known
    session.write_given(TWO, Secrets(()))
    session.settle_given(TWO)  # it has no folder
    assert session.read_given(TWO).known


def test_more_output_than_is_worth_reading_counts_as_not_free_of_them(session: SessionFolder) -> None:
    session.write_given(ONE, Secrets(["the first secret"]))
    out = ended(session, 1, b"hello\n")
    for number in range(100):
        (out / f"postStart.{number}").touch()
        os.truncate(out / f"postStart.{number}", 10**12)
    began = time.thread_time()
    session.settle_given(ONE)
    assert session.read_given(ONE).values == ("the first secret",)
    assert time.thread_time() - began < 2.0, "that 1.6 GB are searched takes longer"
    for path in out.glob("postStart.*"):
        path.unlink()
    for number in range(usage.MAX_ENTRIES):
        (out / f"postStart.{number}").touch()
    session.settle_given(ONE)
    assert session.read_given(ONE).values == ("the first secret",)
    (out / "postStart.0").unlink()
    session.settle_given(ONE)
    assert session.read_given(ONE) is KEYS


def test_the_rest_of_a_long_one_at_the_beginning_is_not_forgotten(session: SessionFolder) -> None:
    long = "a-token-as-long-as-that-of-a-cloud-" * 60
    session.write_given(ONE, Secrets([long]))
    session.write_given(TWO, Secrets(["the second secret"]))
    for number in (1, 2):
        out = ended(session, number, b"hello\n")
        (out / "stdout.old").write_text(f"{long[100:]} was printed\n")
        (out / "stdout.from").write_text(f"{(out / 'stdout.old').stat().st_ino} 5242880\n")
    session.settle_given(ONE)
    assert session.read_given(ONE).values == (long,)
    session.settle_given(TWO)
    assert session.read_given(TWO) is KEYS
