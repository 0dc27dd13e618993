"""Reading records that an agent may have written: nothing raises, nothing blocks, and every size is bounded."""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stromboli.attempt import records, seals
from stromboli.attempt.records import MAX_TAILS, read
from stromboli.attempt.regular import opened
from stromboli.plan.redaction import UNKNOWN, WITHHELD, Secrets
from tests.support.builders import NOTHING_SECRET

RECORD = (
    "start 1700000000.5\n"
    "begin onCreateCommand 0 1700000001.000000\nfinish 0 1700000002.250000\n"
    "begin agent 0 1700000003.000001\nfinish 3 1700000004.000000\n"
    "end failed 3 1 1700000005.000000\n"
)
NONE = records.Records(False, False, (), None, b"", "")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    seals.make(tmp_path, None)
    return tmp_path / "out"


def _record(out: Path, text: str) -> records.Records:
    (out / "record").write_text(text)
    return read(out, NOTHING_SECRET)


def test_what_a_supervisor_wrote_is_read(out: Path) -> None:
    (out / seals.SEAL).touch()
    (out / "onCreateCommand.0").write_text("installed\n")
    (out / "stdout.old").write_bytes(b"older ")
    (out / "stdout").write_bytes(b"newer")
    (out / "stderr").write_bytes(b"oops\n")
    found = _record(out, RECORD)
    assert (found.started, found.sent, found.stdout, found.stderr_tail) == (True, True, b"older newer", "oops\n")
    hook, agent = found.steps
    assert (hook.hook, hook.index, hook.state, hook.exit_code, hook.tail) == (
        "onCreateCommand",
        0,
        "Succeeded",
        0,
        "installed\n",
    )
    assert hook.started_at == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)
    assert hook.finished_at == datetime(2023, 11, 14, 22, 13, 22, 250000, tzinfo=UTC)
    assert agent.started_at == datetime(2023, 11, 14, 22, 13, 23, 1, tzinfo=UTC)
    assert (agent.state, agent.exit_code, agent.tail) == ("Failed", 3, "oops\n")
    assert found.end == records.EndRecord("failed", 3, True, datetime(2023, 11, 14, 22, 13, 25, tzinfo=UTC))


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere", NOTHING_SECRET) == NONE


def test_a_step_without_an_end_runs_until_the_end_says_otherwise(out: Path) -> None:
    begun = "begin agent 0 1700000003.0\n"
    assert [s.state for s in _record(out, begun).steps] == ["Running"]
    assert [s.state for s in _record(out, begun + "end cancelled 143 0 1700000005.0\n").steps] == ["Failed"]


@pytest.mark.parametrize(
    ("lines", "continued"),
    [
        ("", False),
        ("input prompt 1700000003.0\n", False),
        ("input continue 1700000003.0\n", True),
        ("input continue 1700000003.0", False),
        ("input other 1700000003.0\n", False),
    ],
)
def test_it_is_said_whether_the_prompt_was_replaced(out: Path, lines: str, continued: bool) -> None:
    assert _record(out, f"begin agent 0 1700000003.0\n{lines}").continued is continued


@pytest.mark.parametrize("cause", ["completed", "failed", "timeout", "hooks-timeout", "cancelled"])
def test_every_cause_is_known(out: Path, cause: str) -> None:
    end = _record(out, f"end {cause} 0 0 1700000005.0\n").end
    assert end is not None
    assert end.cause == cause


@pytest.mark.parametrize(
    "line",
    [
        "end",
        "end completed 0 0 1700000005.0",  # no line feed: still being written
        "end completed 256 0 1700000005.0\n",
        "end completed -1 0 1700000005.0\n",
        "end because 0 0 1700000005.0\n",
        "end completed 0 0\n",
        "end completed 0 0 1700000005.0 more\n",
        " end completed 0 0 1700000005.0\n",
        "end completed 0 0 1700000005.0\r\n",
        "end completed \N{ARABIC-INDIC DIGIT ONE} 0 1700000005.0\n",
        "END completed 0 0 1700000005.0\n",
    ],
)
def test_what_is_not_quite_an_end_is_none(out: Path, line: str) -> None:
    assert _record(out, line).end is None


def test_nonsense_between_lines_is_skipped(out: Path) -> None:
    text = "finish 0 1.0\nbegin agent 0 99999999999.0\n\0\nbegin sudo 0 1.0\nbegin agent 0 2.0\n"
    text += "finish 999 1.0\nfinish 4 2.0\nfinish 0 3.0\n"
    [step] = _record(out, text).steps
    assert (step.hook, step.exit_code, step.started_at) == ("agent", 4, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC))


def test_there_are_not_too_many_steps(out: Path) -> None:
    text = "".join(f"begin postStart {n} 1.0\nfinish 0 1.0\n" for n in range(2000))
    assert len(_record(out, text).steps) == 256


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300)
    | st.lists(st.sampled_from(RECORD.split("\n")) | st.text(max_size=20)).map(lambda x: "\n".join(x).encode())
)
def test_no_content_raises(out: Path, data: bytes) -> None:
    for name in ("record", "stdout", "stderr", "stderr.old", "agent.0", "onCreateCommand.0"):
        (out / name).write_bytes(data)
    found = read(out, NOTHING_SECRET)
    assert found.stdout == data
    assert all(s.exit_code is None or 0 <= s.exit_code <= 255 for s in found.steps)
    assert "\0" not in found.stderr_tail


# --- what is not a regular file ---


def _special(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        secret = path.parent.parent / "secret"
        secret.write_text(RECORD)
        path.symlink_to(secret)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        # A socket's path can have at most 107 bytes, so bind it from within the folder.
        before = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.fchdir(before)
        os.close(before)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling", "device", "socket"])
def test_only_regular_files_are_read(out: Path, kind: str) -> None:
    for name in ("record", "stdout", "stdout.old", "stderr", "stderr.old"):
        _special(out / name, kind)
    assert read(out, NOTHING_SECRET) == replace(NONE, started=True)


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path, out: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(OSError, match="link"):
        read(tmp_path / "link", NOTHING_SECRET)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
def test_a_folder_that_the_agent_closed_counts_as_sent(
    out: Path, mode: int, ordinary_user: AbstractContextManager[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "record").write_text(RECORD)
    monkeypatch.chdir(out.parent)  # only root can enter the folders above it
    with ordinary_user:
        Path("out").chmod(mode)
        found = read(Path("out"), NOTHING_SECRET)
    assert (found.started, found.sent, found.end, found.stdout) == (True, True, None, b"")


# --- bounds ---


def test_huge_files_are_read_at_their_end_only(out: Path) -> None:
    for name in ("stdout", "stdout.old", "stderr"):
        with (out / name).open("wb") as file:
            file.truncate(1 << 40)
            file.seek(0, os.SEEK_END)
            file.write(f"{name} end".encode())
    found = read(out, NOTHING_SECRET, stdout_limit=64)
    assert (len(found.stdout), found.stdout.endswith(b"\0stdout end")) == (64, True)
    assert found.stderr_tail.endswith("stderr end")
    assert len(found.stderr_tail.encode()) <= 8192


def test_older_output_fills_up_what_the_newer_leaves(out: Path) -> None:
    (out / "stdout.old").write_bytes(b"0123456789")
    (out / "stdout").write_bytes(b"abc")
    assert read(out, NOTHING_SECRET, stdout_limit=5).stdout == b"89abc"
    assert read(out, NOTHING_SECRET, stdout_limit=3).stdout == b"abc"
    assert read(out, NOTHING_SECRET, stdout_limit=2).stdout == b"bc"


def test_output_that_moves_while_it_is_read_counts_once(out: Path) -> None:
    (out / "stdout").write_bytes(b"abc")
    os.link(out / "stdout", out / "stdout.old")
    assert read(out, NOTHING_SECRET).stdout == b"abc"


def test_all_tails_together_are_bounded_and_the_last_has_most(out: Path) -> None:
    text = "".join(f"begin postCreate {n} 1.0\nfinish 0 1.0\n" for n in range(9)) + "begin agent 0 1.0\n"
    for n in range(9):
        (out / f"postCreate.{n}").write_text("é" * 20000)
    (out / "stderr").write_text("🦊" * 20000)
    tails = [s.tail for s in _record(out, text).steps]
    assert MAX_TAILS - 64 <= sum(len(t.encode()) for t in tails) <= MAX_TAILS
    assert len(tails[-1].encode()) == MAX_TAILS // 2
    assert set("".join(tails)) == {"é", "🦊"}


def test_one_step_may_use_it_all(out: Path) -> None:
    (out / "postCreate.0").write_text("x" * 20000)
    [step] = _record(out, "begin postCreate 0 1.0\n").steps
    assert len(step.tail) == MAX_TAILS


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1), limit=st.integers(1, 40))
def test_a_tail_never_begins_within_a_character(out: Path, text: str, limit: int) -> None:
    (out / "stderr").write_bytes((text * 400).encode("utf-8", "replace"))
    with opened(out) as folder:
        clean = records._text(folder, "stderr", limit, NOTHING_SECRET)
    assert len(clean.encode()) <= limit
    assert not clean.startswith("\ufffd") or "\ufffd" in text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"10%\r20%\r\ndone\n", "10%\n20%\ndone\n"),
        (b"tab\tstays\n", "tab\tstays\n"),
        (b"nul\0bel\x07del\x7f", "nul\\x00bel\\x07del\\x7f"),
        ("c1 \x9b31m, bidi \u202e, line \u2028".encode(), "c1 \\x9b31m, bidi \\u202e, line \\u2028"),
        (b"latin \xe9\xff", "latin \ufffd\ufffd"),
        ("👩‍💻 né".encode(), "👩‍💻 né"),
    ],
)
def test_control_characters_are_made_harmless(out: Path, written: bytes, shown: str) -> None:
    (out / "stderr").write_bytes(written)
    assert read(out, NOTHING_SECRET).stderr_tail == shown


# --- secrets ---

KEY = "a-key-of-sixty-characters-" + "0123456789" * 4


@pytest.mark.parametrize("shift", range(0, len(KEY) + 2, 5))
def test_a_secret_across_the_edge_of_a_tail_leaves_nothing_of_itself(out: Path, shift: int) -> None:
    """The tail begins after `shift` characters of the key."""
    (out / "stderr").write_text(f"{KEY}{'.' * (records.MAX_STDERR_TAIL - len(KEY) + shift)}")
    (out / "postStart.0").write_text(f"{KEY}{'.' * (MAX_TAILS - len(KEY) + shift)}")
    (out / "record").write_text("begin postStart 0 1.0\n")
    found = read(out, Secrets([KEY]))
    for tail in (found.stderr_tail, found.steps[0].tail):
        assert not set(tail) & set(KEY), tail[:80]


def test_masks_do_not_draw_the_rest_of_a_secret_into_a_tail(out: Path) -> None:
    """The part of the file that is read begins inside a key, and masking makes the rest shorter than the tail."""
    (out / "stderr").write_text(KEY * 1000)
    tail = read(out, Secrets([KEY])).stderr_tail
    assert set(tail) == {"*"}


def test_a_secret_of_several_lines_is_found_as_a_terminal_wrote_it(out: Path) -> None:
    secret = "-----BEGIN KEY-----\nfirst line of it\nsecond line of it\n-----END KEY-----"
    (out / "stderr").write_text(f"all: {secret}\n".replace("\n", "\r\n") + "part: second line of it\n")
    assert read(out, Secrets([secret])).stderr_tail == "all: ***\npart: ***\n"


def test_while_the_secrets_are_not_known_nothing_is_shown(out: Path) -> None:
    (out / "stderr").write_text("anything")
    (out / "postStart.0").write_text("anything")
    (out / "record").write_text("begin postStart 0 1.0\nbegin postStart 1 1.0\n")
    found = read(out, UNKNOWN)
    assert [found.stderr_tail, *(s.tail for s in found.steps)] == [WITHHELD, WITHHELD, ""]
