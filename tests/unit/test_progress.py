"""What people see of long steps."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading

import pytest

from stromboli import progress as module
from stromboli.errors import LocalFailure
from stromboli.progress import Progress, Step, duration


def plain() -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(stream, terminal=False), stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A stream, and the environment of a terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return io.StringIO()


def test_a_step_has_a_first_and_a_last_line_with_its_time() -> None:
    progress, stream = plain()
    with progress.step("Building") as step:
        step.note("3.11")
    assert re.fullmatch(r"… Building\n✓ Building: 3\.11, 0\.\d s\n", stream.getvalue())


@pytest.mark.parametrize(
    ("done", "total", "unit", "expected"),
    [
        (12_400_000, 184_000_000, "MB", "x: 12 of 184 MB (6 %)"),
        (500_000, 1_000_000, "MB", "x: 0.5 of 1.0 MB (50 %)"),
        (12_400_000, None, "MB", "x: 12 MB so far"),
        (3, 7, "files", "x: 3 of 7 files (42 %)"),
        (9, 7, "files", "x: 9 of 7 files (100 %)"),
        (3, 0, "files", "x: 3 files so far"),
    ],
)
def test_how_much_of_how_much(done: int, total: int | None, unit: str, expected: str) -> None:
    step = Step("x")
    step.done(done, total, unit)
    assert step.text() == expected


def test_a_measured_step_tells_at_each_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PLAIN_BEAT", 0.01)
    progress, stream = plain()
    looked = threading.Event()

    def measure() -> int:
        if "of" in stream.getvalue():
            looked.set()
        return 5

    with progress.step("Copying") as step:
        step.measured(measure, 10, "files")
        assert looked.wait(10), "no beat in 10 s"
    assert re.search(r"^… Copying: 5 of 10 files \(50 %\), 0\.\d s$", stream.getvalue(), re.MULTILINE)


def test_on_a_terminal_a_step_is_one_line_that_its_end_replaces(terminal: io.StringIO) -> None:
    with Progress(terminal, terminal=True).step("Building") as step:
        step.done(3, 4, "files")
    drawn, _, last = terminal.getvalue().rpartition("\x1b[2K")
    assert "… Building" in drawn
    assert re.fullmatch(r"✓ Building: 3 of 4 files \(75 %\), 0\.\d s\n", last)


def test_on_a_terminal_a_step_is_drawn_anew_with_how_far_it_is(terminal: io.StringIO) -> None:
    drawn = threading.Event()

    def measure() -> int:
        if "━" in terminal.getvalue() and "50 %" in terminal.getvalue():
            drawn.set()
        return 5

    with Progress(terminal, terminal=True).step("Copying") as step:
        step.measured(measure, 10, "files")
        assert drawn.wait(10), "not drawn in 10 s"


def test_a_line_that_is_longer_than_the_terminal_is_cut_while_it_is_redrawn(terminal: io.StringIO) -> None:
    with Progress(terminal, terminal=True).step("x" * 500):
        pass
    drawn, _, last = terminal.getvalue().rpartition("\x1b[2K")
    assert "x" * 60 + "…" in re.sub("x{60,}", "x" * 60, drawn)
    assert "x" * 500 in last


@pytest.mark.parametrize("on_terminal", [True, False])
def test_what_others_wrote_steers_nothing(terminal: io.StringIO, on_terminal: bool) -> None:
    progress = Progress(terminal, terminal=on_terminal)
    progress.line("\x1b]0;a title\x07 [red]line[/red] :bomb:")
    with progress.step("\x1b[31m [red]step[/red] :bomb:") as step:
        step.note("a\rb\u202e")
    shown = terminal.getvalue()
    assert "\\x1b]0;a title\\x07 [red]line[/red] :bomb:\n" in shown
    assert "… \\x1b[31m [red]step[/red] :bomb:" in shown
    assert "✓ \\x1b[31m [red]step[/red] :bomb:: a\\x0db\\u202e, " in shown


def test_elsewhere_what_draws_is_not_loaded() -> None:
    program = (
        "import sys; from stromboli.progress import Progress\n"
        "with Progress(terminal=False).step('x'): pass\n"
        "print('rich' in sys.modules)"
    )
    environ = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (383, "6 min 23 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    with Progress(stream).step("Building"):
        pass
    assert "\x1b" not in stream.getvalue()


def test_a_failed_command_becomes_a_failure_with_its_last_words_and_the_hint() -> None:
    progress, stream = plain()
    program = "import sys; print('one\\ntwo\\nthree\\nfour', file=sys.stderr); sys.exit(7)"
    with pytest.raises(LocalFailure) as failure, progress.step("Fetching", "try again"):
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert str(failure.value).startswith("Fetching: ")
    assert "ended with 7: two · three · four" in str(failure.value)
    assert failure.value.hint == "try again"
    assert stream.getvalue().splitlines()[-1].startswith("✗ Fetching")


def test_a_missing_program_is_named() -> None:
    progress, _ = plain()
    with pytest.raises(LocalFailure, match="no-such-program does not exist"), progress.step("Fetching", ""):
        subprocess.run(["no-such-program"], check=True)


def test_a_full_disk_is_said() -> None:
    progress, _ = plain()
    with pytest.raises(LocalFailure, match="No space left on device"), progress.step("Fetching", ""):
        raise OSError(28, "No space left on device")


def test_without_a_hint_an_error_passes_as_it_is() -> None:
    progress, stream = plain()
    with pytest.raises(OSError, match="No space left on device"), progress.step("Fetching"):
        raise OSError(28, "No space left on device")
    assert "✗ Fetching" in stream.getvalue()


def test_a_failure_passes_as_it_is_and_so_does_a_bug() -> None:
    progress, stream = plain()
    with pytest.raises(LocalFailure, match=r"^own words"), progress.step("Fetching", "other hint"):
        raise LocalFailure("own words", "own hint")
    with pytest.raises(KeyError), progress.step("Fetching"):
        raise KeyError("a bug")
    assert stream.getvalue().count("✗ Fetching") == 2


def test_no_thread_outlives_its_step() -> None:
    before = threading.active_count()
    progress, _ = plain()
    with progress.step("one"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
