"""The session's folder: complete or absent, unchanged once the attempt has started, and removed completely."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from stromboli.attempt import busybox, folder, supervisor
from stromboli.attempt.folder import SessionFolder
from stromboli.errors import LocalFailure, NoSpace

UID = "0b2c6f7e-0000-4000-8000-000000000001"
RUN = "0b2c6f7e-0000-4000-8000-000000000002"
FILES = {"env": b"export A='1'\n", "steps": b"_steps() { :; }\n", "prompt": b"\xffhello"}
ROOT = os.geteuid() == 0
ME = (os.geteuid(), os.getegid())
OWNER = (4242, 4343) if ROOT else ME


@pytest.fixture
def session(tmp_path: Path) -> SessionFolder:
    busybox.install(tmp_path / "home")
    return SessionFolder(tmp_path / "home", tmp_path / "run", UID)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _tree(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below: name → inode, mode, content."""
    found = {}
    for p in sorted(path.rglob("*")):
        at = p.lstat()
        found[str(p.relative_to(path))] = (at.st_ino, at.st_mode, p.read_bytes() if p.is_file() else b"")
    return found


# --- plan and out ---


def test_an_attempt_is_complete(session: SessionFolder, tmp_path: Path) -> None:
    made = session.prepare_attempt(RUN, 1, FILES, OWNER)
    assert made == session.attempt(RUN, 1) == tmp_path / "home/sessions" / UID / "attempts" / f"{RUN}-1"
    plan = made / "plan"
    assert {p.name for p in plan.iterdir()} == {*FILES, "busybox", "managed", "seals", "supervisor"}
    assert {name: (plan / name).read_bytes() for name in FILES} == FILES
    assert (plan / "supervisor").read_bytes() == supervisor.script().encode()
    assert [p.name for p in (made / "out").iterdir()] == ["seal"]
    assert sorted(p.name for p in made.iterdir()) == ["out", "plan", "sealed"]


def test_others_get_in_nowhere_but_by_a_bind(session: SessionFolder) -> None:
    before = os.umask(0o077)
    try:
        made = session.prepare_attempt(RUN, 1, FILES, OWNER)
    finally:
        os.umask(before)
    assert [_mode(p) for p in (session.path.parent, session.path, made.parent, made)] == [0o700] * 4
    # Inside a container, any user can read the plan, but only the image's user can write records.
    assert (_mode(made / "plan"), _mode(made / "plan/prompt"), _mode(made / "plan/busybox")) == (0o755, 0o644, 0o755)
    for path, mode in ((made / "out", 0o700), (made / "out/seal", 0o600)):
        assert (_mode(path), path.stat().st_uid, path.stat().st_gid) == (mode, *OWNER)


def test_without_an_owner_it_stays_ours(session: SessionFolder) -> None:
    out = (session.prepare_attempt(RUN, 1, FILES, None) / "out").stat()
    assert (out.st_uid, out.st_gid) == ME


def test_busybox_is_a_link_where_one_can_be_and_a_copy_else(
    session: SessionFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = busybox.path(tmp_path / "home")
    assert (session.prepare_attempt(RUN, 1, FILES, None) / "plan/busybox").samefile(kept)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    copy = session.prepare_attempt(RUN, 2, FILES, None) / "plan/busybox"
    assert (copy.samefile(kept), copy.read_bytes() == kept.read_bytes(), _mode(copy)) == (False, True, 0o755)


def test_doing_it_again_changes_nothing(session: SessionFolder) -> None:
    made = session.prepare_attempt(RUN, 1, FILES, OWNER)
    before = _tree(made)
    session.prepare_attempt(RUN, 1, FILES, OWNER)
    assert _tree(made) == before


def test_what_has_changed_before_the_start_replaces_the_plan(session: SessionFolder) -> None:
    made = session.prepare_attempt(RUN, 1, {**FILES, "settings.json": b"{}"}, OWNER)
    session.prepare_attempt(RUN, 1, {**FILES, "prompt": b"other"}, OWNER)
    assert (made / "plan/prompt").read_bytes() == b"other"
    assert not (made / "plan/settings.json").exists()
    assert sorted(p.name for p in made.iterdir()) == ["out", "plan", "sealed"]


@pytest.mark.parametrize("left", ["plan.new", "plan.old"])
def test_what_a_crash_left_is_made_whole(session: SessionFolder, left: str) -> None:
    made = session.prepare_attempt(RUN, 1, FILES, OWNER)
    (made / "plan").rename(made / left)
    (made / left / "prompt").unlink()
    session.prepare_attempt(RUN, 1, FILES, OWNER)
    assert {name: (made / "plan" / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("how", ["started", "seal"])
def test_a_started_attempt_is_not_touched(session: SessionFolder, how: str) -> None:
    made = session.prepare_attempt(RUN, 1, FILES, OWNER)
    if how == "started":
        (made / "out/started").mkdir()
    else:
        (made / "out/seal").write_text("x")
    before = _tree(made)
    session.prepare_attempt(RUN, 1, {"prompt": b"other"}, None)
    assert _tree(made) == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "-a", "a\0"])
def test_a_uid_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name of a folder"):
        SessionFolder(tmp_path, tmp_path, name)
    with pytest.raises(ValueError, match="name of a folder"):
        SessionFolder(tmp_path, tmp_path, UID).attempt(f"/{name}", 1)


# --- links ---


def test_a_link_points_where_it_was_pointed_last(session: SessionFolder, tmp_path: Path) -> None:
    for number in (1, 2):
        session.point("attempt", session.attempt(RUN, number))
    session.point("cli", tmp_path / "mount")
    assert session.link("attempt").readlink() == session.attempt(RUN, 2)
    assert session.link("cli").readlink() == tmp_path / "mount"
    assert sorted(p.name for p in session.path.iterdir()) == ["attempt", "cli"]


def test_a_link_that_a_crash_left_half_made_is_no_obstacle(session: SessionFolder, tmp_path: Path) -> None:
    session.path.mkdir(parents=True)
    (session.path / ".cli.new").symlink_to("/nowhere")
    session.point("cli", tmp_path)
    assert session.link("cli").readlink() == tmp_path
    assert [p.name for p in session.path.iterdir()] == ["cli"]


# --- secrets ---


def test_secrets_lie_apart_in_one_file_of_the_images_user(session: SessionFolder, tmp_path: Path) -> None:
    session.write_secrets([b"t\n", b"", b"cut\0off"], b"{}", OWNER)
    place = tmp_path / "run/secrets" / UID
    assert session.link("secret").readlink() == place / "handed"
    assert [_mode(p) for p in (tmp_path / "run", place.parent, place)] == [0o700] * 3
    assert [p.name for p in place.iterdir()] == ["handed"]
    found = (place / "handed").stat()
    assert (_mode(place / "handed"), found.st_uid, found.st_gid) == (0o400, *OWNER)
    assert (place / "handed").read_bytes() == b"t\n\0\0cut\0{}"


def test_files_follow_the_variables_after_their_sizes(session: SessionFolder) -> None:
    session.write_secrets([b"t"], b"{}", OWNER, [b"a\0b\n", b""])
    assert session.link("secret").read_bytes() == b"t\0" + b"4\0a\0b\n" + b"0\0" + b"{}"


def test_once_handed_over_they_are_taken_back_and_the_next_are_new(session: SessionFolder, tmp_path: Path) -> None:
    session.write_secrets([b"1"], b"{}", None)
    for _ in range(2):
        session.take_back()
        assert not session.link("secret").exists()
    session.write_secrets([b"2"], None, OWNER)
    assert session.link("secret").read_bytes() == b"2\0"


@pytest.mark.parametrize("spoil", ["link", "mode", "file"])
def test_a_place_that_is_not_ours_alone_is_refused(session: SessionFolder, tmp_path: Path, spoil: str) -> None:
    place = tmp_path / "run"
    if spoil == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif spoil == "mode":
        place.mkdir()
        place.chmod(0o755)
    with_file = spoil == "file"
    if with_file:
        place.touch(0o600)
    with pytest.raises((LocalFailure, FileExistsError)):
        session.write_secrets([b"t"], None, None)
    assert not list(tmp_path.rglob("handed"))


# --- the end ---


def test_removing_leaves_nothing_and_nobody_elses(session: SessionFolder, tmp_path: Path) -> None:
    other = SessionFolder(tmp_path / "home", tmp_path / "run", "other")
    for s in (session, other):
        out = s.prepare_attempt(RUN, 1, FILES, OWNER) / "out"
        s.write_secrets([b"t"], b"{}", OWNER)
        s.point("cli", tmp_path)
        (out / "evil").symlink_to(busybox.path(tmp_path / "home"))
    assert folder.sessions(tmp_path / "home") == folder.with_secrets(tmp_path / "run") == {UID, "other"}
    session.remove_secrets()
    assert folder.with_secrets(tmp_path / "run") == {"other"}
    for _ in range(2):
        session.remove()
    assert folder.sessions(tmp_path / "home") == {"other"}
    assert busybox.path(tmp_path / "home").exists()
    assert not [p for p in tmp_path.rglob("*") if UID in p.name]
    assert (other.attempt(RUN, 1) / "plan/prompt").read_bytes() == FILES["prompt"]


def test_only_names_of_sessions_are_listed(tmp_path: Path) -> None:
    assert folder.sessions(tmp_path) == folder.with_secrets(tmp_path) == set()
    for name in ("lost+found", ".trash", UID):
        (tmp_path / "sessions" / name).mkdir(parents=True)
    assert folder.sessions(tmp_path) == {UID}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(session: SessionFolder, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match=r"the file system of .* is full"):
        session.prepare_attempt(RUN, 1, FILES, OWNER)


def test_what_else_goes_wrong_is_not_called_a_full_disk(session: SessionFolder, tmp_path: Path) -> None:
    (tmp_path / "home/sessions").touch()
    with pytest.raises(OSError, match="sessions") as raised:
        session.prepare_attempt(RUN, 1, FILES, OWNER)
    assert raised.value.errno in (errno.ENOTDIR, errno.EEXIST)
