"""Steps under the supervisor as an ordinary process: hooks, time and signals, output."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from stromboli.plan.attempt import Hook
from tests.support.supervised import Supervised, hooks, plan, sh

# --- hooks ---


def test_steps_go_in_order_and_each_is_recorded(box: Supervised, tmp_path: Path) -> None:
    order = (
        Hook("onCreateCommand", 0, "echo c0"),
        Hook("onCreateCommand", 1, "echo c1 >&2"),
        Hook("postStart", 0, "echo s0"),
    )
    assert box.run(sh("echo answer", hooks=order)) == 0
    steps = box.records().steps
    assert [(s.hook, s.index, s.state, s.tail) for s in steps] == [
        ("onCreateCommand", 0, "Succeeded", "c0\n"),
        ("onCreateCommand", 1, "Succeeded", "c1\n"),
        ("postStart", 0, "Succeeded", "s0\n"),
        ("agent", 0, "Succeeded", ""),
    ]


def test_the_first_failure_is_the_last_step_and_nothing_is_sent(box: Supervised) -> None:
    assert box.run(sh("echo answer", hooks=hooks("true", "echo why; exit 7", "true"))) == 7
    found = box.records()
    assert [(s.state, s.exit_code) for s in found.steps] == [("Succeeded", 0), ("Failed", 7)]
    assert (found.started, found.sent, found.steps[1].tail, found.stdout) == (True, False, "why\n", b"")
    assert (box.end().cause, box.end().exit_code) == ("failed", 7)


def test_a_hook_that_reads_gets_the_end_of_the_file(box: Supervised) -> None:
    assert box.run(plan(hooks=hooks("cat; echo $?"))) == 0
    assert box.records().steps[0].tail == "0\n"


def test_a_hook_is_one_shell_command_word_for_word(box: Supervised) -> None:
    command = "x='a  b'; printf '%s|' \"$x\" \"it's $((1+1))\" é '\\n'\n# comment\necho \"$A\"; (exit 0)"
    assert box.run(plan(hooks=hooks(command), env={"A": "$x"})) == 0
    assert box.records().steps[0].tail == "a  b|it's 2|é|\\n|$x\n"


def test_a_hook_that_prints_too_much_is_bounded_and_its_last_line_kept(box: Supervised) -> None:
    flood = "yes 'a line of some length' | head -c 6000000; echo; echo the last line"
    assert box.run(plan(hooks=hooks(flood))) == 0
    assert box.records().steps[0].tail.endswith("\nthe last line\n")
    assert sum(f.stat().st_size for f in box.out.glob("postStart.0*")) <= 2 * 1024 * 1024


def test_a_process_that_a_hook_leaves_goes_on_and_holds_nobody_up(box: Supervised, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    # It writes to the hook's output after the hook has exited, and must not be killed by a broken pipe.
    daemon = f"(read _ <{tmp_path}/go; echo late; echo more; echo alive >{tmp_path}/alive) & echo begun"
    script = f"echo >{tmp_path}/go; while ! test -s {tmp_path}/alive; do sleep 0.01; done; echo answer"
    began = time.monotonic()
    assert box.run(sh(script, hooks=hooks(daemon))) == 0
    assert time.monotonic() - began < 10
    assert box.records().steps[0].tail == "begun\nlate\nmore\n"


def test_a_failed_hook_that_leaves_a_process_still_ends(box: Supervised) -> None:
    assert box.run(plan(hooks=hooks("setsid sleep 30 & echo why; exit 4"))) == 4
    assert box.records().steps[0].tail == "why\n"


# --- time and signals ---


def test_the_timeout_asks_first(box: Supervised) -> None:
    assert box.run(sh("trap 'echo bye; exit 9' TERM; while :; do sleep 0.01; done", timeout=1.0)) == 9
    found = box.records()
    assert (box.end().cause, box.end().exit_code) == ("timeout", 9)
    assert found.stdout == b"bye\n"


def test_the_timeout_kills_what_does_not_listen(box: Supervised) -> None:
    began = time.monotonic()
    assert box.run(sh("trap '' TERM; while :; do sleep 0.01; done", timeout=0.3, grace=0.3)) == 1
    assert 0.6 <= time.monotonic() - began < 10
    assert (box.end().cause, box.end().exit_code) == ("timeout", 137)


def test_the_hooks_have_a_time_of_their_own(box: Supervised) -> None:
    assert box.run(plan(hooks=hooks("true", "exec sleep 30"), hooks_timeout=1.0)) == 143
    found = box.records()
    assert box.end().cause == "hooks-timeout"
    assert ([s.state for s in found.steps], found.sent) == (["Succeeded", "Failed"], False)


def test_the_hooks_time_does_not_count_for_the_agent(box: Supervised) -> None:
    assert box.run(sh("sleep 1.2", hooks=hooks("true"), hooks_timeout=1.0)) == 0


def test_the_attempts_time_counts_for_hooks_as_well(box: Supervised) -> None:
    assert box.run(plan(hooks=hooks("exec sleep 30"), timeout=0.3, hooks_timeout=20.0)) == 143
    assert box.end().cause == "timeout"


def test_term_is_passed_on_to_all_of_the_step(box: Supervised, tmp_path: Path) -> None:
    script = (
        f"(trap 'echo child >{tmp_path}/child; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait; exit 1"
    )
    box.start(sh(script))
    box.until_stdout(b"ready")
    box.signal(signal.SIGTERM)
    assert box.wait() == 143
    assert (box.end().cause, box.end().exit_code) == ("cancelled", 143)


def test_cancelled_during_a_hook_nothing_is_sent(box: Supervised) -> None:
    box.start(sh("echo answer", hooks=hooks("echo ready; exec sleep 30")))
    box.until("the hook", lambda: any(s.tail for s in box.records().steps))
    box.signal(signal.SIGTERM)
    assert box.wait() == 143
    found = box.records()
    assert box.end().cause == "cancelled"
    assert (found.sent, found.stdout) == (False, b"")


def test_a_second_term_does_not_change_the_story(box: Supervised) -> None:
    box.start(sh("trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done", grace=0.5))
    box.until_stdout(b"ready")
    box.signal(signal.SIGTERM)
    box.until_stdout(b"asked")
    box.signal(signal.SIGUSR1)
    box.signal(signal.SIGTERM)
    assert box.wait() == 1
    assert (box.end().cause, box.end().exit_code) == ("cancelled", 137)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.004, 0.006, 0.008, 0.012])
def test_term_at_any_moment_ends_it_and_is_told(box: Supervised, delay: float) -> None:
    box.start(sh("exec sleep 30", hooks=hooks("true"), grace=15.0))
    box.until("the record", (box.out / "record").exists)
    time.sleep(delay)  # the test varies the time of the signal; this waits for nothing
    box.signal(signal.SIGTERM)
    assert box.wait() == 143
    found = box.records()
    assert box.end().cause == "cancelled"
    assert all(s.state != "Running" for s in found.steps)


def test_a_process_that_the_cli_leaves_holds_nobody_up(box: Supervised, tmp_path: Path) -> None:
    began = time.monotonic()
    left = f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 30' & while ! test -s {tmp_path}/pid; do :; done"
    assert box.run(sh(f"{left}; echo answer")) == 0
    assert time.monotonic() - began < 10
    assert box.records().stdout == b"answer\n"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # like the exit of PID 1


def test_late_and_strange_signals_do_not_end_a_run(box: Supervised, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    box.start(sh(f"echo ready; read _ <{tmp_path}/go; echo answer", hooks=hooks("true"), hooks_timeout=50.0))
    box.until_stdout(b"ready")
    box.signal(signal.SIGUSR2)  # the hooks' timeout, just too late
    box.signal(signal.SIGCONT)
    (tmp_path / "go").write_text("\n")
    assert box.wait() == 0
    assert box.end().cause == "completed"


def test_the_cli_gets_signals_as_any_program_does(box: Supervised) -> None:
    assert box.run(sh("grep SigIgn /proc/self/status", hooks=hooks("true"), hooks_timeout=50.0)) == 0
    # 32 and 33 are reserved by the threading library; GNU make starts its children with them ignored.
    ignored = int(box.records().stdout.split()[1], 16) & ((1 << 31) - 1)
    # Background jobs of a shell ignore these two, and a shell cannot undo that.
    assert ignored == 1 << (signal.SIGINT - 1) | 1 << (signal.SIGQUIT - 1)


# --- output ---


def test_output_can_be_read_while_it_runs(box: Supervised, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    box.start(sh(f"printf 'half a line'; echo oops >&2; read _ <{tmp_path}/go"))
    box.until_stdout(b"half a line")
    box.until("standard error", lambda: box.records().stderr_tail == "oops\n")
    assert box.records().end is None
    assert [s.state for s in box.records().steps] == ["Running"]
    (tmp_path / "go").write_text("\n")
    assert box.wait() == 0


def test_output_is_bounded_and_the_newest_kept(box: Supervised) -> None:
    flood = "yes 'a line of some length, so that there are not too many' | head -c {}; echo; echo the last line"
    assert box.run(sh(f"{flood.format(25_000_000)}; ({flood.format(1_000_000)}) >&2")) == 0
    found = box.records()
    assert found.stdout.endswith(b"\nthe last line\n")
    assert len(found.stdout) > 5_000_000
    assert found.stderr_tail.endswith("\nthe last line\n")
    assert sum(f.stat().st_size for f in box.out.glob("stdout*")) <= 10 * 1024 * 1024
    assert sum(f.stat().st_size for f in box.out.glob("stderr*")) <= 256 * 1024


def test_nothing_is_lost_where_one_segment_follows_another(box: Supervised) -> None:
    assert box.run(sh("seq 1 900000")) == 0
    lines = box.records().stdout.split(b"\n")[1:-1]
    assert lines[-1] == b"900000"
    assert lines == [b"%d" % n for n in range(int(lines[0]), 900001)]


def test_a_full_disk_does_not_hold_the_cli_up(box: Supervised) -> None:
    full = hooks(f"ln -s /dev/full {box.out}/stdout")
    assert box.run(sh("head -c 5000000 /dev/zero; echo done >&2", hooks=full)) == 0
    assert box.records().stderr_tail == "done\n"


def test_a_cli_that_writes_nothing_at_all(box: Supervised) -> None:
    assert box.run(sh("exec >&- 2>&-; exit 5")) == 5
    assert (box.records().stdout, box.records().stderr_tail) == (b"", "")


def test_a_step_without_progress_is_ended_as_one_that_takes_too_long(box: Supervised) -> None:
    box.start(sh("trap '' TERM; echo ready; while :; do sleep 0.01; done", grace=0.2))
    box.until_stdout(b"ready")
    box.signal(signal.SIGHUP)
    assert box.wait() == 1
    assert (box.end().cause, box.end().exit_code) == ("no-progress", 137)


@pytest.mark.parametrize(("asked", "least", "most"), [(signal.SIGTERM, 0.0, 0.7), (signal.SIGUSR1, 0.8, 5.0)])
def test_what_a_step_leaves_behind_does_not_delay_an_end_that_somebody_waits_for(
    box: Supervised, tmp_path: Path, asked: signal.Signals, least: float, most: float
) -> None:
    """A process in a session of its own, which ignores TERM and holds the pipe of the output open."""
    left = f"setsid sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/pid; exec sleep 30' &"
    box.start(sh(f"{left} while ! test -s {tmp_path}/pid; do :; done; echo ready; exec sleep 30"))
    box.until_stdout(b"ready")
    began = time.monotonic()
    box.signal(asked)
    box.wait()
    assert least <= time.monotonic() - began < most
