"""The supervisor as an ordinary process: order, records, exit codes, signals, limits, environment of the steps."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stromboli.attempt import busybox, seals, supervisor
from stromboli.attempt.seals import Broken
from stromboli.plan import attempt
from stromboli.plan.attempt import Hook
from tests.support.supervised import Supervised, plan

AWKWARD = "a b\n'c' \"d\" $HOME `id` \\ ; & | * ? ~ # \t é 🦊 \x81\x88\x7f\r end\n\n"


@pytest.fixture(scope="module")
def static_busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox.install(tmp_path_factory.mktemp("home"))


@pytest.fixture
def box(tmp_path: Path, static_busybox: Path) -> Iterator[Supervised]:
    box = Supervised(tmp_path / "run", static_busybox)
    yield box
    box.close()


def sh(script: str, **changes: object) -> attempt.AttemptPlan:
    return plan("/bin/sh", "-c", script, **changes)


def hooks(*commands: str) -> tuple[Hook, ...]:
    return tuple(Hook("postStart", n, command) for n, command in enumerate(commands))


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
    assert seals.look(box.root) == Broken(started=False, sent=False)
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
    assert seals.look(box.root) == Broken(started=False, sent=False)


def test_nothing_is_sent_if_the_second_seal_cannot_be_broken(box: Supervised, tmp_path: Path) -> None:
    box.script(change=lambda text: text.replace("_break /proc/self/fd/7", "_break /proc/nowhere"))
    assert box.run(sh(f"touch {tmp_path}/ran")) == attempt.OUT_UNUSABLE
    assert seals.look(box.root) == Broken(started=True, sent=False)
    assert not (tmp_path / "ran").exists()


def test_a_secret_that_is_not_there_stops_it_before_any_mark(box: Supervised) -> None:
    assert box.run(plan(secret_env=("TOKEN",))) == attempt.SECRET_MISSING
    (box.root / "handed").write_text("cut sho")
    assert box.start_again().wait(20) == attempt.SECRET_MISSING
    (box.root / "handed").unlink()
    assert box.start_again().wait(20) == attempt.SECRET_MISSING
    assert seals.look(box.root) == Broken(started=False, sent=False)


def test_credentials_that_do_not_fit_stop_it_before_any_mark(box: Supervised) -> None:
    box.hand_over(credentials="{}")
    (box.root / "secret/.credentials.json").symlink_to("/dev/full")
    assert box.run(sh(":", credentials=True)) == attempt.SECRET_MISSING
    assert seals.look(box.root) == Broken(started=False, sent=False)


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
    assert seals.look(box.root) == Broken(started=True, sent=False)
    (box.root / "go").write_text("\n")
    assert box.wait() == 0
    assert seals.look(box.root) == Broken(started=True, sent=True)


@pytest.mark.parametrize("how", COVER_UPS)
def test_no_agent_can_restore_a_seal(box: Supervised, how: str) -> None:
    box.run(sh(_cover_up(box, how)))
    assert seals.look(box.root) == Broken(started=True, sent=True)


@pytest.mark.parametrize("how", COVER_UPS)
def test_no_hook_can_have_a_prompt_sent_with_an_unbroken_seal(box: Supervised, tmp_path: Path, how: str) -> None:
    box.run(sh(f"touch {tmp_path}/sent", hooks=hooks(f"{_cover_up(box, how)}; true")))
    assert not (tmp_path / "sent").exists() or seals.look(box.root).sent


def test_a_hook_that_puts_a_folder_in_our_folders_place_changes_nothing(box: Supervised, tmp_path: Path) -> None:
    """Mount points cannot be moved, but the folder that contains them can."""
    swap = f"mv {box.root} {box.root}.true; cp -a {box.root}.true {box.root}"
    box.run(sh(f"touch {tmp_path}/sent", hooks=hooks(swap)))
    assert (tmp_path / "sent").exists()
    assert seals.look(box.root.with_name(f"{box.root.name}.true")) == Broken(started=True, sent=True)


def test_a_clock_that_has_not_moved_on_is_waited_for(box: Supervised) -> None:
    """File systems store times in ticks, of up to a second: a seal whose time has not changed counts as unbroken."""
    count = f"echo >>{box.root}/looks; _stamp=$_unstarted"
    ticks = f'_look_at() {{ {count}; [ "$(wc -l <{box.root}/looks)" -lt 9 ] || _stamp=new; }}'
    box.script(change=lambda text: text.replace("_refuse_if_started() {", f"{ticks}\n_refuse_if_started() {{"))
    box.run(sh("exit 0"))
    assert (box.root / "looks").read_text().count("\n") >= 9


# --- the environment of the steps ---


DUMP = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open({!r}, 'w'))"


def _seen(
    box: Supervised, tmp_path: Path, *argv: str, environ: dict[str, str] | None = None, **changes: object
) -> list:  # type: ignore[type-arg]
    """[argv, environment, working directory] of the CLI."""
    dump = DUMP.format(str(tmp_path / "seen.json"))
    assert box.run(plan(sys.executable, "-c", dump, *argv, **changes), environ) == 0, box.records()
    seen: list[object] = json.loads((tmp_path / "seen.json").read_text())
    return seen


def test_values_and_arguments_arrive_as_they_are(box: Supervised, tmp_path: Path) -> None:
    names = ("PLAIN", "IFS", "OPTIND", "PS4", "_bb", "_plan", "_secret_0", "LINENO")
    argv, env, _ = _seen(box, tmp_path, AWKWARD, "", "-x", "--", env=dict.fromkeys(names, AWKWARD))
    assert argv == [AWKWARD, "", "-x", "--"]
    assert {name: env[name] for name in names} == dict.fromkeys(names, AWKWARD)


def test_the_images_own_variables_are_left_alone(box: Supervised, tmp_path: Path) -> None:
    own = {"PATH": os.defpath, "HOME": str(box.root / "home"), "code": "/srv", "in": "x", "cause": "y", "limit": "7"}
    _, env, _ = _seen(box, tmp_path, environ=own)
    added = {k: v for k, v in env.items() if own.get(k) != v}
    assert set(added) - {"LC_CTYPE"} == {"CLAUDE_CONFIG_DIR"}
    assert env["CLAUDE_CONFIG_DIR"] == f"{box.root}/session/claude"


def test_variables_that_a_shell_cannot_keep_arrive_as_well(box: Supervised, tmp_path: Path) -> None:
    odd = {
        "spring.profiles.active": "prod",
        "A-B": "c=d\n",
        "1ST": AWKWARD,
        "-i": "",
        "IFS": ":",
        "PWD": "/srv",
        "SHLVL": "7",
    }
    own = {"PATH": os.defpath, "HOME": str(box.root / "home"), "PS4": "image's", **odd}
    _, env, _ = _seen(box, tmp_path, environ=own, env={"PS4": "plan's"})
    assert {name: env.get(name) for name in odd} == odd
    assert env["PS4"] == "plan's"


def test_the_shell_adds_none_of_its_own_variables(box: Supervised, tmp_path: Path) -> None:
    own = {"PATH": os.defpath, "HOME": str(box.root / "home"), "LC_ALL": "C.UTF-8"}
    _, env, _ = _seen(box, tmp_path, environ=own, workdir=str(tmp_path))
    assert set(env) == {*own, "CLAUDE_CONFIG_DIR"}


def _begin(*commands: str) -> tuple[Hook, ...]:
    return tuple(Hook("onCreateCommand", n, command) for n, command in enumerate(commands))


HAND = "printf \"A=1\\nB=two words = 'x' $(id)\\n\" >>$STROMBOLI_ENV; echo /opt/tool/bin >>$STROMBOLI_PATH"


def test_what_a_hook_hands_on_reaches_later_hooks_and_the_agent(box: Supervised, tmp_path: Path) -> None:
    saw = tmp_path / "saw"
    then = f'echo "$A|$PATH" >{saw}; echo A=2 >>$STROMBOLI_ENV; echo /o >>$STROMBOLI_PATH'
    first, last = _begin(HAND.replace("$(id)", "`id`"), then), hooks("echo C=3 >>$STROMBOLI_ENV")
    _, env, _ = _seen(box, tmp_path, hooks=(*first, *last), env={"A": "0", "C": "0"})
    assert saw.read_text() == f"1|/opt/tool/bin:{os.defpath}\n"
    assert (env["A"], env["C"], env["PATH"]) == ("2", "3", f"/o:/opt/tool/bin:{os.defpath}")
    assert env["B"].startswith("two words = 'x' uid=")
    assert not any(name.startswith("STROMBOLI") for name in env)


def test_what_hooks_of_the_beginning_hand_on_stays_and_the_rest_does_not(box: Supervised, tmp_path: Path) -> None:
    _seen(box, tmp_path, hooks=(*_begin(HAND), *hooks("echo C=3 >>$STROMBOLI_ENV; echo /c >>$STROMBOLI_PATH")))
    for _ in range(2):
        box.hand_over_again()
        _, env, _ = _seen(box, tmp_path, recalls=True, hooks=hooks("echo D=$A >>$STROMBOLI_ENV"))
        assert (env.get("A"), env.get("D"), env.get("C")) == ("1", "1", None)
        assert env["PATH"] == f"/opt/tool/bin:{os.defpath}"
    box.hand_over_again()
    _, env, _ = _seen(box, tmp_path, recalls=True)
    assert env.get("A") == "1"


def test_a_beginning_that_is_made_anew_recalls_nothing(box: Supervised, tmp_path: Path) -> None:
    _seen(box, tmp_path, hooks=_begin(HAND))
    box.hand_over_again()
    _, env, _ = _seen(box, tmp_path, hooks=_begin("test -z $A"))
    assert "A" not in env


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("LD_PRELOAD=/x.so", "line 1 of $STROMBOLI_ENV sets LD_PRELOAD, which changes which code"),
        ("NODE_OPTIONS=", "sets NODE_OPTIONS, which changes which code"),
        ("BUN_INSPECT_x=1", "sets BUN_INSPECT_x, which changes which code"),
        ("PATH=/x", "sets PATH, which is set by the operator"),
        ("STROMBOLI_ENV=/x", "sets STROMBOLI_ENV, which is set by the operator"),
        ("HTTPS_PROXY=mine", "sets HTTPS_PROXY, which is set by an administrator"),
        ("TOKEN=mine", "sets TOKEN, which is set by an administrator"),
        ("_bb=x", "sets _bb, which is a name of the supervisor"),
        ("A.B=x", "line 1 of $STROMBOLI_ENV has a name that no variable can have"),
        ("export A=x", "line 1 of $STROMBOLI_ENV has a name that no variable can have"),
        ("1A=x", "line 1 of $STROMBOLI_ENV is not 'NAME=value'"),
        ("hidden", "line 1 of $STROMBOLI_ENV is not 'NAME=value'"),
    ],
)
def test_a_hook_may_hand_on_no_more_than_a_spec_may_set(box: Supervised, tmp_path: Path, line: str, said: str) -> None:
    box.hand_over("t")
    given = {"kept_env": ("HTTPS_PROXY",), "secret_env": ("TOKEN",)}
    what = sh(f"touch {tmp_path}/ran", hooks=_begin(f"echo '{line}' >>$STROMBOLI_ENV"), **given)
    assert box.run(what) == 1
    [step] = box.records().steps
    assert (step.state, step.exit_code) == ("Failed", 1)
    assert said in step.tail
    assert "hidden" not in step.tail
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("line", "said"), [("bin", "is not an absolute path"), ("/a:/b", "is not one folder")])
def test_folders_are_absolute_and_one_a_line(box: Supervised, line: str, said: str) -> None:
    assert box.run(sh("exit 0", hooks=_begin(f"echo {line} >>$STROMBOLI_PATH"))) == 1
    assert f"line 1 of $STROMBOLI_PATH {said}" in box.records().steps[0].tail


def test_what_an_agent_writes_into_it_is_held_to_the_rules(box: Supervised, tmp_path: Path) -> None:
    _seen(box, tmp_path, hooks=_begin(HAND))
    handed = box.root / "session/handed"
    (handed / "beginning.env").write_text("LD_PRELOAD=/x.so\nHTTPS_PROXY=mine\n_bb=/x\nnonsense\nOTHER=1\n")
    (handed / "beginning.path").write_text("bin\n/a:/b\n/other\n")
    box.hand_over_again()
    _, env, _ = _seen(box, tmp_path, recalls=True, kept_env=("HTTPS_PROXY",))
    assert (env.get("OTHER"), env.get("LD_PRELOAD"), env.get("HTTPS_PROXY")) == ("1", None, None)
    assert env["PATH"] == f"/other:{os.defpath}"


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.symlink_to("/etc"),
        os.mkfifo,
        Path.touch,
        lambda p: (p.mkdir(), os.mkfifo(p / "beginning.env"), (p / "beginning.path").symlink_to("/etc/passwd")),
        lambda p: (p.mkdir(), (p / "beginning.env").write_text("A=1\n" * 50_000)),
    ],
)
def test_whatever_an_agent_puts_in_its_place_holds_nothing_up(
    box: Supervised, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(box.root / "session/handed")
    _, env, _ = _seen(box, tmp_path, recalls=True, hooks=hooks("echo B=2 >>$STROMBOLI_ENV"))
    assert (env.get("A"), env.get("B")) == (None, "2")
    assert env["PATH"] == os.defpath


def test_a_hook_that_leaves_a_pipe_hands_on_nothing(box: Supervised) -> None:
    assert box.run(sh("exit 0", hooks=_begin("rm $STROMBOLI_ENV; mkfifo $STROMBOLI_ENV", "exit 0"))) == 0


# Configuration that an agent can leave in the CLI's folder, by name.
LEFT = {
    "settings.json": '{"hooks": {}}',
    "settings.local.json": "{}",
    ".claude.json": '{"mcpServers": {}}',
    ".credentials.json": "{}",
    "agents/a.md": "a",
    "commands/c.md": "c",
    "skills/s/SKILL.md": "s",
    "plugins/store/p.json": "{}",
    "hooks/h.sh": "h",
    "rules/r.md": "r",
    "session-env/x/hook.sh": "x",
    "shell-snapshots/s.sh": "s",
    "-rf": "f",
    "..two/x": "x",
}
KEPT = {
    "projects/-work/1.jsonl": "{}",
    "projects/-work/memory/MEMORY.md": "m",
    "todos/t.json": "[]",
    "CLAUDE.md": "mine",
}


def _files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def _tar(files: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()


def test_of_what_a_run_has_left_only_conversations_and_memory_go_on(box: Supervised) -> None:
    claude = box.root / "session/claude"
    _write(claude, LEFT | KEPT)
    assert box.run(sh("find . -type f", workdir=str(claude))) == 0
    assert _files(claude) == KEPT


def test_the_images_configuration_is_laid_down_again_and_memory_stays(box: Supervised) -> None:
    claude = box.root / "session/claude"
    image = {"settings.json": '{"model": "opus"}', "skills/s/SKILL.md": "image", "CLAUDE.md": "image"}
    _write(claude, LEFT | KEPT)
    assert box.run(sh("exit 0", files={"prompt": b"", "claude.tar": _tar(image)})) == 0
    assert _files(claude) == {**image, **KEPT}


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.symlink_to("/etc"),
        lambda p: p.symlink_to(p.name),
        Path.touch,
        os.mkfifo,
        lambda p: p.mkdir(mode=0),
    ],
)
def test_whatever_is_in_the_folders_place_is_replaced(box: Supervised, make: Callable[[Path], object]) -> None:
    make(box.root / "session/claude")
    assert box.run(sh("exit 0", files={"prompt": b"", "claude.tar": _tar({"settings.json": "{}"})})) == 0
    assert not (box.root / "session/claude").is_symlink()
    assert _files(box.root / "session/claude") == {"settings.json": "{}"}


@pytest.mark.parametrize("name", ["projects", "CLAUDE.md", "todos"])
@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/etc"), os.mkfifo, lambda p: p.symlink_to("/etc/passwd")])
def test_what_is_no_folder_or_file_of_its_own_does_not_go_on(
    box: Supervised, name: str, make: Callable[[Path], object]
) -> None:
    (box.root / "session/claude").mkdir()
    make(box.root / "session/claude" / name)
    assert box.run(sh("exit 0")) == 0
    assert list((box.root / "session/claude").iterdir()) == []


def test_a_folder_too_deep_to_be_removed_holds_nothing_up(box: Supervised) -> None:
    claude = box.root / "session/claude"
    claude.mkdir()
    dig = "mkdir -p plugins; cd plugins; n=0; while [ $n -lt 60 ]; do mkdir -p $0; cd $0; n=$((n+1)); done"
    subprocess.run(["/bin/bash", "-c", dig, "/".join(["d" * 40] * 3)], cwd=claude, check=True)
    _write(claude, {"settings.json": "{}"})
    assert box.run(sh("exit 0")) == 0
    assert list(claude.iterdir()) == []
    subprocess.run(["rm", "-rf", box.root / "session"], check=True)


def test_the_cli_is_not_given_what_is_withheld_and_hooks_are(box: Supervised, tmp_path: Path) -> None:
    odd, file = "BUN_JSC_a.b", tmp_path / "hook"
    given = {
        "PATH": os.defpath,
        "HOME": str(box.root / "home"),
        "BUN_OPTIONS": "--version",
        "LD_LIBRARY_PATH": "/x",
        odd: "1",
    }
    withheld = ("BUN_OPTIONS", odd)
    hook = hooks(f"tr '\\0' '\\n' </proc/self/environ >{file}")
    _, env, _ = _seen(box, tmp_path, environ=given, withheld=withheld, hooks=hook)
    assert (set(env) & set(given)) == {"PATH", "HOME", "LD_LIBRARY_PATH"}
    assert "BUN_OPTIONS=--version" in file.read_text().splitlines()


def test_secrets_become_variables_and_lie_nowhere_else(box: Supervised, tmp_path: Path) -> None:
    box.hand_over(AWKWARD, "")
    what = hooks(f'ls -A {box.root}/secret >{tmp_path}/left; printf %s "$TOKEN" >{tmp_path}/hook; ls /proc/$$/fd')
    _, env, _ = _seen(box, tmp_path, secret_env=("TOKEN", "EMPTY"), hooks=what)
    assert (env["TOKEN"], env["EMPTY"]) == (AWKWARD, "")
    assert (tmp_path / "hook").read_bytes() == AWKWARD.encode()
    assert (tmp_path / "left").read_text() == ""
    assert box.records().steps[0].tail.split() == ["0", "1", "2"], "none of our variables is inherited"
    kept = [f for f in [*box.root.rglob("plan/*"), *box.root.rglob("out/*")] if f.is_file() and not f.is_symlink()]
    assert all(AWKWARD.encode() not in f.read_bytes() for f in kept)


def test_the_cli_folder_is_first_on_the_path(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = _seen(box, tmp_path, cli=sys.executable)
    assert env["PATH"] == f"{os.path.dirname(sys.executable)}:{os.defpath}"


def test_an_image_without_a_path_gets_the_usual_one(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = _seen(box, tmp_path, environ={"HOME": "/"})
    assert "/usr/bin" in env["PATH"].split(":")


def test_a_home_that_can_be_written_stays(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = _seen(box, tmp_path)
    assert env["HOME"] == f"{box.root}/home"
    assert [p.name for p in (box.root / "session").iterdir()] == ["claude"]


@pytest.mark.parametrize("home", [None, "", "/nonexistent/home", "/proc/uptime"])
def test_a_home_that_cannot_be_used_is_replaced(box: Supervised, tmp_path: Path, home: str | None) -> None:
    environ = {"PATH": os.defpath} | ({} if home is None else {"HOME": home})
    _, env, _ = _seen(box, tmp_path, environ=environ)
    assert env["HOME"] == f"{box.root}/session/home"
    assert Path(env["HOME"]).is_dir()


def test_the_working_directory_is_made_for_every_step(box: Supervised, tmp_path: Path) -> None:
    where = tmp_path / "deep" / "-r 'work' $dir"
    # A hook may replace it, as `git clone` does.
    _, _, cwd = _seen(
        box, tmp_path, workdir=str(where), hooks=hooks("pwd", f'cd /; rm -r "{tmp_path}/deep"; mkdir -p "$OLDPWD"')
    )
    assert cwd == str(where)
    assert box.records().steps[0].tail == f"{where}\n"


def test_a_working_directory_that_cannot_be_is_said(box: Supervised, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert box.run(plan(workdir=f"{tmp_path}/file/work")) == attempt.WORKDIR_UNUSABLE
    found = box.records()
    assert (found.started, found.sent, found.steps) == (True, False, ())
    assert box.end().cause == "failed"
    assert "no working directory" in found.stderr_tail
    assert f"{tmp_path}/file" in found.stderr_tail


def test_credentials_are_a_link_while_it_runs_and_gone_afterwards(box: Supervised, tmp_path: Path) -> None:
    box.hand_over("t", credentials='{"awkward": "é\\n"}\n')
    link = box.root / "session/claude/.credentials.json"
    shown = f"readlink {link} >{tmp_path}/link; stat -c %a $(readlink {link}); cat {link}"
    renew = f"{shown}; echo renewed >{link}.new; mv {link}.new {link}"
    assert box.run(sh(renew, credentials=True, secret_env=("TOKEN",))) == 0
    assert box.records().stdout.decode() == '600\n{"awkward": "é\\n"}\n'
    assert (tmp_path / "link").read_text().strip() == f"{box.root}/secret/.credentials.json"
    assert not os.path.lexists(link)


def test_credentials_that_a_killed_run_left_do_not_outlive_the_next(box: Supervised, tmp_path: Path) -> None:
    left = box.root / "session/claude/.credentials.json"
    left.parent.mkdir()
    left.symlink_to("/nowhere")
    assert box.run(sh(f"test ! -L {left}")) == 0


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
    box.until("the first mark", (box.out / "record").exists)
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
