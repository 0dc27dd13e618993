"""Reading an output by offset: whatever is rotated meanwhile, and whatever an agent has put in its place."""

from __future__ import annotations

import os
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stromboli.attempt import outputs
from stromboli.attempt.outputs import output
from stromboli.attempt.regular import Regular


class Writer:
    """Writes an output as the supervisor does, one step at a time."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.all = b""
        self._begin = 0

    def write(self, data: bytes) -> None:
        with (self.out / "stdout").open("ab") as file:
            file.write(data)
        self.all += data

    def note(self) -> None:
        (self.out / "stdout.from").write_text(f"{(self.out / 'stdout').stat().st_ino} {self._begin}\n")

    def rename(self) -> None:
        self._begin += (self.out / "stdout").stat().st_size
        (self.out / "stdout").replace(self.out / "stdout.old")

    def rotate(self) -> None:
        self.note()
        self.rename()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def kept(out: Path, name: str = "stdout") -> tuple[int, bytes]:
    """The offset of the first byte that is kept, and all that is."""
    with output(out, name) as found:
        return found.begin, found.part(found.begin, found.end)


def test_what_was_never_rotated_begins_at_0(out: Path) -> None:
    assert kept(out) == (0, b"")
    Writer(out).write(b"abc")
    assert kept(out) == (0, b"abc")
    with output(out, "stdout") as found:
        assert (found.exists, found.part(1, 2), found.part(2, 99), found.part(3, 99)) == (True, b"b", b"c", b"")
    with output(out, "stderr") as found:
        assert (found.exists, found.begin, found.end) == (False, 0, 0)


def test_offsets_count_what_is_no_longer_kept(out: Path) -> None:
    writer = Writer(out)
    for n in range(5):
        writer.write(bytes([65 + n]) * (n + 1))
        writer.rotate()
    assert kept(out) == (10, b"EEEEE")  # the note is about the file that was renamed, and there is none after it yet
    writer.write(b"xyz")
    assert kept(out) == (10, b"EEEEExyz")
    with output(out, "stdout") as found:
        assert found.part(13, 17) == writer.all[13:17] == b"EExy"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=12), ahead=st.lists(st.integers(0, 4), max_size=24))
def test_at_every_step_of_a_rotation_the_bytes_are_at_their_offsets(
    out: Path, sizes: list[int], ahead: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer goes on by so many steps before each file is opened."""
    for path in out.iterdir():
        path.unlink()
    writer = Writer(out)
    steps = iter(
        [
            step
            for n, size in enumerate(sizes)
            for step in (partial(writer.write, bytes([65 + n]) * size), writer.note, writer.rename)
        ]
    )
    real, left = Regular.open, iter(ahead)

    def open_late(folder: int, name: str) -> Regular | None:
        for step in islice(steps, next(left, 0)):
            step()
        return real(folder, name)

    with monkeypatch.context() as patched:
        patched.setattr(Regular, "open", open_late)
        for _ in range(6):
            begin, data = kept(out)
            assert writer.all[begin : begin + len(data)] == data
    begin, data = kept(out)
    assert begin + len(data) == len(writer.all)


@pytest.mark.parametrize("note", ["", "1", "a b\n", "1 2", "1 2\n3", "-1 5\n", "1 99999999999999999\n", "1 2\n" * 40])
def test_a_note_that_is_none_counts_as_missing(out: Path, note: str) -> None:
    (out / "stdout.old").write_bytes(b"old")
    (out / "stdout").write_bytes(b"new")
    (out / "stdout.from").write_text(note)
    assert kept(out) == (0, b"oldnew")


def test_a_note_about_another_file_says_where_the_first_begins(out: Path) -> None:
    (out / "stdout.old").write_bytes(b"old")
    (out / "stdout.from").write_text("1 7\n")
    assert kept(out) == (7, b"old")


@pytest.mark.parametrize("name", ["stdout", "stdout.old", "stdout.from"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_regular_file_is_not_there_and_does_not_block(out: Path, name: str, kind: str) -> None:
    secret = out.parent / "secret"
    secret.write_bytes(b"secret")
    match kind:
        case "fifo":
            os.mkfifo(out / name)
        case "folder":
            (out / name).mkdir()
        case "link":
            (out / name).symlink_to(secret)
    assert kept(out) == (0, b"")


def test_a_folder_that_is_gone_is_empty(tmp_path: Path) -> None:
    assert kept(tmp_path / "gone") == (0, b"")


def test_a_file_with_a_hole_of_terabytes_is_read_at_its_end(out: Path) -> None:
    with (out / "stdout").open("wb") as file:
        file.truncate(1 << 42)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    with output(out, "stdout") as found:
        assert found.begin == found.end - outputs.MOST
        assert found.part(found.end - 4, found.end) == b"\0end"


def test_a_file_that_the_agent_cut_ends_earlier(out: Path) -> None:
    writer = Writer(out)
    writer.write(b"abcdef")
    (out / "stdout").write_bytes(b"a")
    with output(out, "stdout") as found:
        assert (found.end, found.part(5, 9)) == (1, b"")
