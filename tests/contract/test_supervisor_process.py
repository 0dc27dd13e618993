"""The supervisor as an ordinary process: one run, its records, its seals and its exit codes."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from stromboli.attempt import seals, supervisor
from stromboli.attempt.seals import Broken
from stromboli.plan import attempt
from tests.support.supervised import Supervised, hooks, plan, sh

# --- one run ---


def test_a_run_leaves_its_marks_its_output_and_an_end(box: Supervised) -> None:
    before = time.time()
    assert box.run(sh("echo answer; echo complaint >&2")) == 0
    found = box.records()
    assert (found.started, found.sent, found.stdout, found.stderr_tail) == (True, True, b"answer\n", "complaint\n")
    [step] = found.steps
    assert (step.hook, step.index, step.state, step.exit_code, step.tail) == ("agent", 0, "Succeeded", 0, "complaint\n")
    end = box.end()
    assert (end.cause, end.exit_code, end.oom) == ("completed", 0, False)
    times = [moment.timestamp() for moment in (step.started_at, step.finished_at, end.at) if moment]
    clock = [before, *times, time.time()]
    assert len(clock) == 5
    assert clock == sorted(clock)


def test_the_prompt_arrives_byte_for_byte(box: Supervised, tmp_path: Path) -> None:
    prompt = bytes(range(256)) * 4096
    assert box.run(sh(f"cat >{tmp_path}/got", files={"prompt": prompt})) == 0
    assert (tmp_path / "got").read_bytes() == prompt


@pytest.mark.parametrize("code", [1, 3, 118, 124, 126, 127, 143])
def test_exit_codes_are_the_clis(box: Supervised, code: int) -> None:
    assert box.run(sh(f"exit {code}")) == code
    assert (box.end().cause, box.end().exit_code) == ("failed", code)


@pytest.mark.parametrize("step", ["agent", "hook"])
@pytest.mark.parametrize("code", [119, 120, 121, 122, 123, 137, 255])
def test_no_child_ends_the_supervisor_as_the_supervisor_ends_itself(box: Supervised, code: int, step: str) -> None:
    """Nor with Podman's code for a killed container. The record has the original code."""
    what = sh(f"exit {code}") if step == "agent" else sh("exit 0", hooks=hooks(f"exit {code}"))
    assert box.run(what) == 1
    assert (box.end().cause, box.end().exit_code) == ("failed", code)


def test_a_cli_that_is_killed_counts_as_128_and_the_signal(box: Supervised) -> None:
    assert box.run(sh("kill -KILL $$")) == 1
    assert (box.end().cause, box.end().exit_code) == ("failed", 137)


def test_a_cli_of_the_images_own_that_is_not_there_is_127(box: Supervised) -> None:
    assert box.run(plan("no-such-program")) == 127
    assert "no-such-program" in box.records().stderr_tail


@pytest.mark.parametrize(
    ("version", "name", "content"),
    [
        ("v1", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ("v2", "memory.events", "low 0\noom 2\noom_kill 2\noom_group_kill 0\n"),
    ],
)
def test_the_cgroups_word_for_a_kill_for_memory_is_recorded(
    box: Supervised, version: str, name: str, content: str
) -> None:
    file = box.root / "cgroup" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    assert box.run(sh("kill -KILL $$")) == 1
    assert box.end().oom, version


def test_a_busybox_that_does_not_run_applets_by_itself_does_as_well(box: Supervised) -> None:
    box.script(change=lambda text: text.replace("then _bb=; fi", "then :; fi"))
    assert box.run(sh("echo answer", hooks=hooks("echo hook"))) == 0
    assert [s.tail for s in box.records().steps] == ["hook\n", ""]


def test_the_exit_codes_are_the_same_in_script_and_code() -> None:
    said = dict(re.findall(r"\b_([A-Z_]+)=(1[0-9]{2})\b", supervisor.script()))
    assert said == {name: str(getattr(attempt, name)) for name in said}
    assert len(said) == 5


def test_no_variable_can_meet_one_of_the_images() -> None:
    code = re.sub(r"(?m)^\s*#.*$", "", supervisor.script())
    assigned = set(re.findall(r"(?:^|[\s;{])([A-Za-z_]\w*)=", code, re.MULTILINE))
    assert len(assigned) > 30
    of_dd = {"bs", "count", "iflag"}
    assert {name for name in assigned if not name.startswith("_")} == {
        "HOME",
        "PATH",
        "CLAUDE_CONFIG_DIR",
        "IFS",
        "STROMBOLI_ENV",
        "STROMBOLI_PATH",
    } | of_dd


# --- before it begins ---


def test_no_mark_is_set_where_the_cli_is_missing(box: Supervised) -> None:
    assert box.run(plan(cli=str(box.root / "nowhere/claude"))) == attempt.CLI_MISSING
    assert seals.broken(box.root) == Broken(started=False, sent=False)
    assert box.run(sh("exit 0", cli="/bin/sh")) == 0, "the same attempt may be started once the CLI is there"


def test_what_was_started_once_is_refused(box: Supervised, tmp_path: Path) -> None:
    what = sh(f"echo x >>{tmp_path}/sent", secret_env=("TOKEN",))
    box.hand_over("t")
    assert box.run(what) == 0
    record = (box.out / "record").read_bytes()
    assert box.start_again().wait(20) == attempt.ALREADY_STARTED
    assert (box.out / "record").read_bytes() == record
    assert (tmp_path / "sent").read_text() == "x\n"


@pytest.mark.parametrize("make", [Path.touch, lambda p: p.symlink_to("nowhere"), os.mkfifo])
def test_anything_in_the_marks_place_is_a_mark(box: Supervised, make: object) -> None:
    assert callable(make)
    make(box.out / "started")
    assert box.run(plan()) == attempt.ALREADY_STARTED


def test_what_was_started_is_refused_even_without_a_trace_in_its_folder(box: Supervised, tmp_path: Path) -> None:
    clean = f"echo x >>{tmp_path}/sent; find {box.out} -mindepth 1 -delete; touch -d 2026-01-01 {box.out}"
    assert box.run(sh(clean)) == 0
    assert list(box.out.iterdir()) == []
    assert box.start_again().wait(20) == attempt.ALREADY_STARTED
    assert (tmp_path / "sent").read_text() == "x\n"


def test_an_out_that_cannot_be_written_stops_it(box: Supervised) -> None:
    box.script(change=lambda text: text.replace("$_bb mkdir", "false"))
    assert box.run(plan()) == attempt.OUT_UNUSABLE
    assert seals.broken(box.root) == Broken(started=False, sent=False)


def test_nothing_is_sent_if_the_second_seal_cannot_be_broken(box: Supervised, tmp_path: Path) -> None:
    box.script(change=lambda text: text.replace("_break /proc/self/fd/7", "_break /proc/nowhere"))
    assert box.run(sh(f"touch {tmp_path}/ran")) == attempt.OUT_UNUSABLE
    assert seals.broken(box.root) == Broken(started=True, sent=False)
    assert not (tmp_path / "ran").exists()


def test_a_secret_that_is_not_there_stops_it_before_any_mark(box: Supervised) -> None:
    assert box.run(plan(secret_env=("TOKEN",))) == attempt.SECRET_MISSING
    (box.root / "handed").write_text("cut sho")
    assert box.start_again().wait(20) == attempt.SECRET_MISSING
    (box.root / "handed").unlink()
    assert box.start_again().wait(20) == attempt.SECRET_MISSING
    assert seals.broken(box.root) == Broken(started=False, sent=False)


def test_credentials_that_do_not_fit_stop_it_before_any_mark(box: Supervised) -> None:
    box.hand_over(credentials="{}")
    (box.root / "shm/.credentials.json").symlink_to("/dev/full")
    assert box.run(sh(":", credentials=True)) == attempt.SECRET_MISSING
    assert seals.broken(box.root) == Broken(started=False, sent=False)


# --- the seals ---

# What a hook or an agent may do to hide that the prompt was sent.
COVER_UPS = {
    "nothing": ":",
    "removes-all": "rm -rf {out}/* {out}/.[a-z]*",
    "restores-the-times": "touch -d '2026-01-01' {out} {out}/seal; touch -r {plan}/seals {out}/seal",
    "puts-another": "mv {out}/seal {out}/old; cp -p {out}/old {out}/seal; touch {out}/seal",
    "hides-it-and-puts-it-back": "ln {out}/seal {out}/kept; rm {out}/seal; mv {out}/kept {out}/seal",
    "closes-it": "chmod 000 {out}/seal",
}


def _cover_up(box: Supervised, how: str) -> str:
    return COVER_UPS[how].format(out=box.out, plan=box.root / "plan")


def test_seals_are_broken_one_after_the_other(box: Supervised) -> None:
    os.mkfifo(box.root / "go")
    box.start(sh(":", hooks=hooks(f"read _ <{box.root}/go")))
    box.until("the hook", lambda: bool(box.records().steps))
    assert seals.broken(box.root) == Broken(started=True, sent=False)
    (box.root / "go").write_text("\n")
    assert box.wait() == 0
    assert seals.broken(box.root) == Broken(started=True, sent=True)


@pytest.mark.parametrize("how", COVER_UPS)
def test_no_agent_can_restore_a_seal(box: Supervised, how: str) -> None:
    box.run(sh(_cover_up(box, how)))
    assert seals.broken(box.root) == Broken(started=True, sent=True)


@pytest.mark.parametrize("how", COVER_UPS)
def test_no_hook_can_have_a_prompt_sent_with_an_unbroken_seal(box: Supervised, tmp_path: Path, how: str) -> None:
    box.run(sh(f"touch {tmp_path}/sent", hooks=hooks(f"{_cover_up(box, how)}; true")))
    assert not (tmp_path / "sent").exists() or seals.broken(box.root).sent


def test_a_hook_that_puts_a_folder_in_our_folders_place_changes_nothing(box: Supervised, tmp_path: Path) -> None:
    """Mount points cannot be moved, but the folder that contains them can."""
    swap = f"mv {box.root} {box.root}.true; cp -a {box.root}.true {box.root}"
    box.run(sh(f"touch {tmp_path}/sent", hooks=hooks(swap)))
    assert (tmp_path / "sent").exists()
    assert seals.broken(box.root.with_name(f"{box.root.name}.true")) == Broken(started=True, sent=True)


def test_a_clock_that_has_not_moved_on_is_waited_for(box: Supervised) -> None:
    """File systems store times in ticks, of up to a second: a seal whose time has not changed counts as unbroken."""
    count = f"echo >>{box.root}/looks; _stamp=$_unstarted"
    ticks = f'_look_at() {{ {count}; [ "$(wc -l <{box.root}/looks)" -lt 9 ] || _stamp=new; }}'
    box.script(change=lambda text: text.replace("_refuse_if_started() {", f"{ticks}\n_refuse_if_started() {{"))
    box.run(sh("exit 0"))
    assert (box.root / "looks").read_text().count("\n") >= 9
