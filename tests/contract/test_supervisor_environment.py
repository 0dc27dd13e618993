"""The environment of the steps under the supervisor as an ordinary process: variables, secrets, home, folders."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from stromboli.plan import attempt
from tests.support.supervised import AWKWARD, Supervised, hooks, plan, seen, sh


def test_values_and_arguments_arrive_as_they_are(box: Supervised, tmp_path: Path) -> None:
    names = ("PLAIN", "IFS", "OPTIND", "PS4", "_bb", "_plan", "_secret_0", "LINENO")
    argv, env, _ = seen(box, tmp_path, AWKWARD, "", "-x", "--", env=dict.fromkeys(names, AWKWARD))
    assert argv == [AWKWARD, "", "-x", "--"]
    assert {name: env[name] for name in names} == dict.fromkeys(names, AWKWARD)


def test_the_images_own_variables_are_left_alone(box: Supervised, tmp_path: Path) -> None:
    own = {"PATH": os.defpath, "HOME": str(box.root / "home"), "code": "/srv", "in": "x", "cause": "y", "limit": "7"}
    _, env, _ = seen(box, tmp_path, environ=own)
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
    _, env, _ = seen(box, tmp_path, environ=own, env={"PS4": "plan's"})
    assert {name: env.get(name) for name in odd} == odd
    assert env["PS4"] == "plan's"


def test_the_shell_adds_none_of_its_own_variables(box: Supervised, tmp_path: Path) -> None:
    own = {"PATH": os.defpath, "HOME": str(box.root / "home"), "LC_ALL": "C.UTF-8"}
    _, env, _ = seen(box, tmp_path, environ=own, workdir=str(tmp_path))
    assert set(env) == {*own, "CLAUDE_CONFIG_DIR"}


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
    _, env, _ = seen(box, tmp_path, environ=given, withheld=withheld, hooks=hook)
    assert (set(env) & set(given)) == {"PATH", "HOME", "LD_LIBRARY_PATH"}
    assert "BUN_OPTIONS=--version" in file.read_text().splitlines()


def test_secrets_become_variables_and_lie_nowhere_else(box: Supervised, tmp_path: Path) -> None:
    box.hand_over(AWKWARD, "")
    what = hooks(
        f'ls -A {box.root}/secret {box.root}/shm >{tmp_path}/left; printf %s "$TOKEN" >{tmp_path}/hook; ls /proc/$$/fd'
    )
    _, env, _ = seen(box, tmp_path, secret_env=("TOKEN", "EMPTY"), hooks=what)
    assert (env["TOKEN"], env["EMPTY"]) == (AWKWARD, "")
    assert (tmp_path / "hook").read_bytes() == AWKWARD.encode()
    assert (tmp_path / "left").read_text().split() == [f"{box.root}/secret:", f"{box.root}/shm:"]
    assert box.records().steps[0].tail.split() == ["0", "1", "2"], "none of our variables is inherited"
    kept = [f for f in [*box.root.rglob("plan/*"), *box.root.rglob("out/*")] if f.is_file() and not f.is_symlink()]
    assert all(AWKWARD.encode() not in f.read_bytes() for f in kept)


def test_secret_files_have_any_bytes_and_can_only_be_read_by_their_owner(box: Supervised, tmp_path: Path) -> None:
    contents = {
        "binary": bytes(range(256)) * 1000,
        "-n": b"a\nb\0",
        "empty": b"",
        ".pgpass": AWKWARD.encode(),
        "large": b"x" * (1 << 20),
    }
    box.hand_over("t", "u", files=list(contents.values()), credentials="{}")
    folder = box.root / "secret"
    kept = tmp_path / "kept"
    copy = f"mkdir {kept}; cp -p {folder}/* {folder}/.pgpass {kept}"
    hook = hooks(f"cat {folder}/-n >{tmp_path}/hook")
    what = sh(copy, secret_env=("A", "B"), secret_files=tuple(contents), credentials=True, hooks=hook)
    assert box.run(what) == 0, box.records()
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == contents
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()} == {0o400}
    assert (tmp_path / "hook").read_bytes() == contents["-n"]
    assert (box.root / "shm/.credentials.json").read_text() == "{}"


def test_a_secret_file_that_is_not_there_is_said_before_anything_runs(box: Supervised) -> None:
    box.hand_over("t")
    assert box.run(plan(secret_env=("A",), secret_files=("a",))) == attempt.SECRET_MISSING
    assert not box.records().started
    box.hand_over("t", files=[b"x"])
    (box.root / "secret").rmdir()
    assert box.run(plan(secret_env=("A",), secret_files=("a",))) == attempt.SECRET_MISSING
    assert not box.records().started


def test_the_cli_folder_is_first_on_the_path(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = seen(box, tmp_path, cli=sys.executable)
    assert env["PATH"] == f"{os.path.dirname(sys.executable)}:{os.defpath}"


def test_an_image_without_a_path_gets_the_usual_one(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = seen(box, tmp_path, environ={"HOME": "/"})
    assert "/usr/bin" in env["PATH"].split(":")


def test_a_home_that_can_be_written_stays(box: Supervised, tmp_path: Path) -> None:
    _, env, _ = seen(box, tmp_path)
    assert env["HOME"] == f"{box.root}/home"
    assert [p.name for p in (box.root / "session").iterdir()] == ["claude"]


@pytest.mark.parametrize("home", [None, "", "/nonexistent/home", "/proc/uptime"])
def test_a_home_that_cannot_be_used_is_replaced(box: Supervised, tmp_path: Path, home: str | None) -> None:
    environ = {"PATH": os.defpath} | ({} if home is None else {"HOME": home})
    _, env, _ = seen(box, tmp_path, environ=environ)
    assert env["HOME"] == f"{box.root}/session/home"
    assert Path(env["HOME"]).is_dir()


def test_the_working_directory_is_made_for_every_step(box: Supervised, tmp_path: Path) -> None:
    where = tmp_path / "deep" / "-r 'work' $dir"
    # A hook may replace it, as `git clone` does.
    _, _, cwd = seen(
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
