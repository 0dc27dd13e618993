"""What hooks hand on by $STROMBOLI_ENV and $STROMBOLI_PATH, to whom, and within which rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.plan.attempt import Hook
from tests.support.supervised import Supervised, hooks, seen, sh


def _begin(*commands: str) -> tuple[Hook, ...]:
    return tuple(Hook("onCreateCommand", n, command) for n, command in enumerate(commands))


HAND = "printf \"A=1\\nB=two words = 'x' $(id)\\n\" >>$STROMBOLI_ENV; echo /opt/tool/bin >>$STROMBOLI_PATH"


def test_what_a_hook_hands_on_reaches_later_hooks_and_the_agent(box: Supervised, tmp_path: Path) -> None:
    saw = tmp_path / "saw"
    then = f'echo "$A|$PATH" >{saw}; echo A=2 >>$STROMBOLI_ENV; echo /o >>$STROMBOLI_PATH'
    first, last = _begin(HAND.replace("$(id)", "`id`"), then), hooks("echo C=3 >>$STROMBOLI_ENV")
    _, env, _ = seen(box, tmp_path, hooks=(*first, *last), env={"A": "0", "C": "0"})
    assert saw.read_text() == f"1|/opt/tool/bin:{os.defpath}\n"
    assert (env["A"], env["C"], env["PATH"]) == ("2", "3", f"/o:/opt/tool/bin:{os.defpath}")
    assert env["B"].startswith("two words = 'x' uid=")
    assert not any(name.startswith("STROMBOLI") for name in env)


def test_what_hooks_of_the_beginning_hand_on_stays_and_the_rest_does_not(box: Supervised, tmp_path: Path) -> None:
    seen(box, tmp_path, hooks=(*_begin(HAND), *hooks("echo C=3 >>$STROMBOLI_ENV; echo /c >>$STROMBOLI_PATH")))
    for _ in range(2):
        box.hand_over_again()
        _, env, _ = seen(box, tmp_path, recalls=True, hooks=hooks("echo D=$A >>$STROMBOLI_ENV"))
        assert (env.get("A"), env.get("D"), env.get("C")) == ("1", "1", None)
        assert env["PATH"] == f"/opt/tool/bin:{os.defpath}"
    box.hand_over_again()
    _, env, _ = seen(box, tmp_path, recalls=True)
    assert env.get("A") == "1"


def test_a_beginning_that_is_made_anew_recalls_nothing(box: Supervised, tmp_path: Path) -> None:
    seen(box, tmp_path, hooks=_begin(HAND))
    box.hand_over_again()
    _, env, _ = seen(box, tmp_path, hooks=_begin("test -z $A"))
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
    given = {"kept_env": ("HTTPS_PROXY", "TOKEN"), "secret_env": ("TOKEN",)}
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
    seen(box, tmp_path, hooks=_begin(HAND))
    handed = box.root / "session/handed"
    (handed / "beginning.env").write_text("LD_PRELOAD=/x.so\nHTTPS_PROXY=mine\n_bb=/x\nnonsense\nOTHER=1\n")
    (handed / "beginning.path").write_text("bin\n/a:/b\n/other\n")
    box.hand_over_again()
    _, env, _ = seen(box, tmp_path, recalls=True, kept_env=("HTTPS_PROXY",))
    assert (env.get("OTHER"), env.get("LD_PRELOAD"), env.get("HTTPS_PROXY")) == ("1", None, None)
    assert env["PATH"] == f"/other:{os.defpath}"


def _folder_of_what_is_no_file(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "beginning.env")
    (path / "beginning.path").symlink_to("/etc/passwd")


def _folder_with_too_much(path: Path) -> None:
    path.mkdir()
    (path / "beginning.env").write_text("A=1\n" * 50_000)


@pytest.mark.parametrize(
    "make",
    [lambda p: p.symlink_to("/etc"), os.mkfifo, Path.touch, _folder_of_what_is_no_file, _folder_with_too_much],
)
def test_whatever_an_agent_puts_in_its_place_holds_nothing_up(
    box: Supervised, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(box.root / "session/handed")
    _, env, _ = seen(box, tmp_path, recalls=True, hooks=hooks("echo B=2 >>$STROMBOLI_ENV"))
    assert (env.get("A"), env.get("B")) == (None, "2")
    assert env["PATH"] == os.defpath


def test_a_hook_that_leaves_a_pipe_hands_on_nothing(box: Supervised) -> None:
    assert box.run(sh("exit 0", hooks=_begin("rm $STROMBOLI_ENV; mkfifo $STROMBOLI_ENV", "exit 0"))) == 0
