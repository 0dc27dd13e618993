"""Which attempts and runs a session's folder contains, and where its links point."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stromboli.attempt import folder
from stromboli.attempt.folder import Link, SessionFolder
from stromboli.attempt.session_state import SessionState
from stromboli.errors import NoSpace

UID = "0b2c6f7e-0000-4000-8000-000000000001"
OTHER = "0b2c6f7e-0000-4000-8000-000000000002"
RUN = "0b2c6f7e-0000-4000-8000-00000000000a"
ANOTHER = "0b2c6f7e-0000-4000-8000-00000000000b"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def session(home: Path, tmp_path: Path) -> SessionFolder:
    return SessionFolder(home, tmp_path / "run", UID)


def have(session: SessionFolder, *names: str) -> None:
    for name in names:
        (session.path / "attempts" / name).mkdir(parents=True)


# --- links ---


@pytest.mark.parametrize("name", ["attempt", "secret", "cli", "gateway"])
def test_each_link_is_its_own(session: SessionFolder, tmp_path: Path, name: Link) -> None:
    session.point(name, tmp_path)
    assert [p.name for p in session.path.iterdir()] == [name]
    assert session.link(name).readlink() == tmp_path


def test_a_gateway_that_a_policy_takes_away_leads_to_nothing(session: SessionFolder, tmp_path: Path) -> None:
    session.point("gateway", tmp_path)
    for _ in range(2):
        session.point("gateway", session.nothing())
        assert session.link("gateway").resolve() == session.path / "nothing"
        assert list(session.link("gateway").iterdir()) == []


def test_nothing_is_not_taken_for_more(session: SessionFolder, home: Path) -> None:
    session.nothing()
    assert folder.sessions(home) == {UID}
    assert session.attempts_of(RUN) == []
    assert folder.runs(home) == set()


def test_the_last_that_was_handed_over_is_known(session: SessionFolder) -> None:
    assert session.handed_to() is None
    for number in (1, 2):
        session.point("attempt", session.attempt(RUN, number))
        assert session.handed_to() == f"{RUN}-{number}"


def test_what_is_no_link_was_handed_to_nobody(session: SessionFolder) -> None:
    session.link("attempt").mkdir(parents=True)
    assert session.handed_to() is None


# --- attempts ---


def test_a_runs_attempts_are_in_order_and_no_others(session: SessionFolder) -> None:
    have(session, f"{RUN}-10", f"{RUN}-9", f"{RUN}-1", f"{ANOTHER}-2")
    assert session.attempts_of(RUN) == [session.attempt(RUN, n) for n in (1, 9, 10)]
    assert session.attempts_of(ANOTHER) == [session.attempt(ANOTHER, 2)]


def test_a_run_whose_name_begins_anothers_has_only_its_own(session: SessionFolder, home: Path) -> None:
    have(session, "a-1", "a-b-1", "a-1-2")
    assert session.attempts_of("a") == [session.attempt("a", 1)]
    assert folder.runs(home) == {"a", "a-b", "a-1"}


@pytest.mark.parametrize(
    "name",
    [RUN.replace("-", ""), "a", "a-", "-1", "a-1234567", "a-x", ".a-1", "a-1.new", "a-1 ", "a-1\n", "lost+found-1"],
)
def test_what_is_no_attempt_is_passed_over(session: SessionFolder, home: Path, name: str) -> None:
    have(session, name, f"{RUN}-1")
    assert folder.runs(home) == {RUN}
    assert folder.sessions_of(home, "a") == set()
    assert session.attempts_of("a") == []


def test_runs_are_found_in_every_session_that_they_had(session: SessionFolder, home: Path, tmp_path: Path) -> None:
    assert folder.runs(home) == folder.sessions_of(home, RUN) == set()
    have(session, f"{RUN}-1", f"{RUN}-2", f"{ANOTHER}-1")
    have(SessionFolder(home, tmp_path / "run", OTHER), f"{ANOTHER}-1")
    assert folder.runs(home) == {RUN, ANOTHER}
    assert folder.sessions_of(home, RUN) == {UID}
    assert folder.sessions_of(home, ANOTHER) == {UID, OTHER}
    assert folder.sessions_of(home, UID) == set()


# --- state ---


def test_its_state_goes_with_it(session: SessionFolder, home: Path) -> None:
    assert session.read_state() == SessionState()
    session.write_state(SessionState(container="c1"))
    assert session.read_state() == SessionState(container="c1")
    assert folder.runs(home) == set()
    session.remove()
    assert session.read_state() == SessionState()


def test_a_state_for_which_there_is_no_room_is_said(session: SessionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    session.write_state(SessionState(container="c1"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match="make room there"):
        session.write_state(SessionState(container="c2"))
    assert session.read_state() == SessionState(container="c1")


# --- secrets of a stack ---


@pytest.mark.parametrize(("content", "mode"), [(b"longer than it was", 0o444), (b"s", 0o444), (b"before", 0o400)])
def test_a_stack_s_secret_that_has_changed_is_seen_by_whoever_has_it_mounted(
    session: SessionFolder, content: bytes, mode: int
) -> None:
    path = session.write_stack_secret("key", b"before", 0o444, None)
    with path.open("rb") as mounted:  # the same file, as a bind mount has it
        assert session.write_stack_secret("key", content, mode, None) == path
        assert mounted.read() == content
        assert os.fstat(mounted.fileno()).st_mode & 0o777 == mode
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_a_stack_s_secret_whose_file_is_gone_is_written_again(session: SessionFolder) -> None:
    session.write_stack_secret("key", b"before", 0o444, None).unlink()
    assert session.write_stack_secret("key", b"after", 0o440, None).read_bytes() == b"after"
