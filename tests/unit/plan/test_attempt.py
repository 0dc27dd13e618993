"""Rendering of an attempt's plan: what a real shell makes of it is exactly what went in."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stromboli.attempt import busybox, supervisor
from stromboli.plan.attempt import CONTINUE, AttemptPlan, Conversation, Hook, quote, render
from tests.support.supervised import plan

# Whatever a process can be given: no NUL, and no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NASTY = st.text(st.sampled_from("'\"\\$`\n\r\t !*?[]{}()<>|&;#~=%^-_aé\x01\x7f\x81\x82\x88🦊"))
WORDS = st.lists(TEXT | NASTY, max_size=30)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox.install(tmp_path_factory.mktemp("home"))


def _words(shell: Path, what: AttemptPlan, script: str) -> list[str]:
    """What a shell prints, NUL after each word, having read the plan's files and run `script`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in render(what).items():
            (Path(folder) / name).write_bytes(content)
        done = subprocess.run([shell, "sh", "-c", script], cwd=folder, env={}, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode("utf-8").split("\0")[:-1]


@settings(max_examples=25, deadline=None)
@given(values=WORDS)
def test_variables_survive_a_shell(shell: Path, values: list[str]) -> None:
    names = [f"V{n}" for n in range(len(values))]
    what = plan(env=dict(zip(names, values, strict=True)))
    shown = _words(shell, what, "set --; . ./env; exec env -0")
    given_to_it = {f"{name}={value}" for name, value in zip(names, values, strict=True)}
    assert {v for v in shown if v.startswith("V")} == given_to_it


@settings(max_examples=25, deadline=None)
@given(words=WORDS)
def test_arguments_survive_a_shell(shell: Path, words: list[str]) -> None:
    print_them = "_agent() { printf '%s\\0' \"$@\"; }; . ./steps; _steps"
    assert _words(shell, plan("/opt/claude/bin/claude", *words), print_them) == ["/opt/claude/bin/claude", *words]


@settings(max_examples=25, deadline=None)
@given(commands=WORDS)
def test_hooks_survive_a_shell(shell: Path, commands: list[str]) -> None:
    hooks = tuple(Hook("postCreate", n, command) for n, command in enumerate(commands))
    print_them = "_agent() { :; }; _remember_handed() { :; }; _hook() { printf '%s\\0' \"$@\"; }; . ./steps; _steps"
    expected = [word for hook in hooks for word in (hook.kind, str(hook.index), hook.command)]
    assert _words(shell, plan(hooks=hooks), print_them) == expected


@settings(max_examples=15, deadline=None)
@given(workdir=(TEXT | NASTY).filter(bool), timeout=st.floats(0, 7 * 24 * 3600))
def test_settings_survive_a_shell(shell: Path, workdir: str, timeout: float) -> None:
    what = plan(cli="/opt/claude/bin/claude", workdir=workdir, timeout=timeout, hooks_timeout=1e-5, credentials=True)
    print_them = 'printf \'%s\\0\' "$_cli" "$_workdir" $_timeout $_hooks_timeout $_grace $_credentials'
    cli, where, seconds, *rest = _words(shell, what, f". ./steps; {print_them}")
    assert (cli, where, rest) == (what.cli, workdir, ["0.000", "5.000", "1"])
    assert float(seconds) == pytest.approx(timeout, abs=0.0006)


def test_what_is_not_given_is_empty(shell: Path) -> None:
    print_them = 'printf \'%s\\0\' "$_cli" "$_workdir" "$_hooks_timeout" "$_credentials"'
    assert _words(shell, plan(), f". ./steps; {print_them}") == ["", "", "", ""]


def test_secrets_are_named_and_never_there(shell: Path) -> None:
    what = plan(secret_env=("TOKEN", "KEY"), env={"A": "1"})
    read = "_secret() { printf '%s\\0' \"$@\"; }; . ./steps; _read_secrets"
    assert _words(shell, what, read) == ["0", "TOKEN", "1", "KEY"]
    export = "_secret_0=a _secret_1='b\n\n'; . ./env; exec env -0"
    assert {"TOKEN=a", "KEY=b\n\n", "A=1"} <= set(_words(shell, what, export))


def test_secret_files_are_named_after_the_variables(shell: Path) -> None:
    what = plan(secret_env=("TOKEN",), secret_files=("id_rsa", "-n", ".pgpass"))
    read = '_secret() { printf \'%s\\0\' "$@"; }; _secret_file() { _secret "$@"; }; . ./steps; _read_secrets'
    assert _words(shell, what, read) == ["0", "TOKEN", "id_rsa", "-n", ".pgpass"]


def test_a_hook_may_replace_a_secret_of_the_runs_own(shell: Path) -> None:
    what = plan(secret_env=("KEY", "OWN"), kept_env=("KEY",))
    ask = 'for n in KEY OWN; do _may_be_set $n || printf "%s\\0" $n; done'
    assert _words(shell, what, f". ./steps; {ask}") == ["KEY"]


def test_a_variable_cannot_stand_in_for_a_secret(shell: Path) -> None:
    what = plan(secret_env=("KEY",), env={"_secret_0": "mine", "_secret_1": "mine", "KEY": "mine"})
    export = "_secret_0=given; . ./env; exec env -0"
    assert {"KEY=given", "_secret_0=mine", "_secret_1=mine"} <= set(_words(shell, what, export))


def test_files_go_along_unchanged() -> None:
    files = {"prompt": b"\x00\xff\n", "settings.json": b"{}", "mcp-0.json": b"[]"}
    rendered = render(plan(files=files))
    assert {name: rendered[name] for name in files} == files
    assert set(rendered) == {*files, "env", "steps"}


@pytest.mark.parametrize(
    "name", ["env", "steps", "supervisor", "busybox", "continue", "", "..", ".x", "a/b", "a\n", "-x"]
)
def test_files_that_would_be_in_the_way_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file"):
        render(plan(files={"prompt": b"", name: b""}))


def test_a_plan_needs_a_prompt() -> None:
    with pytest.raises(ValueError, match="no prompt"):
        render(plan(files={}))


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "A B", "A;id", "A\n", "é"])
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        render(plan(env={name: "x"}))
    with pytest.raises(ValueError, match="not the name"):
        render(plan(secret_env=(name,)))


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


OWN, PARENT = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("there", "parent", "talk"),
    [
        ((), None, ["--session-id", OWN]),
        ((OWN,), None, ["--resume", OWN]),
        ((PARENT,), None, ["--session-id", OWN]),
        ((PARENT,), PARENT, ["--resume", PARENT, "--fork-session", "--session-id", OWN]),
        ((OWN, PARENT), PARENT, ["--resume", OWN]),
        ((), PARENT, ["--session-id", OWN]),
    ],
)
def test_a_conversation_goes_on_if_it_lies_there(
    shell: Path, tmp_path: Path, there: tuple[str, ...], parent: str | None, talk: list[str]
) -> None:
    """What the supervisor makes of it, by its own function."""
    folder = tmp_path / "projects" / "-work"
    folder.mkdir(parents=True)
    for conversation in there:
        (folder / f"{conversation}.jsonl").write_text('{"type":"user","message":{}}\n')
    (part,) = (part for part in Path(supervisor.__file__).parent.glob("*-conversation.sh"))
    variables = f"_session={tmp_path} _claude={tmp_path} _bb="
    script = f"{variables}\n{part.read_text()}\n_agent() {{ printf '%s\\0' \"$@\"; }}; . ./steps; _steps"
    what = plan("claude", "--print", conversation=Conversation(OWN, parent))
    assert _words(shell, what, script) == ["claude", *talk, "--print"]


def test_what_the_cli_gets_instead_of_its_prompt_goes_along_if_it_may_be_needed() -> None:
    assert "continue" not in render(plan())
    assert render(plan(run="7f1c2c2e-0000-4000-8000-000000000001", continues=True))["continue"] == CONTINUE.encode()


def test_a_conversation_has_the_id_of_one() -> None:
    with pytest.raises(ValueError, match="UUID"):
        render(plan(conversation=Conversation("$(reboot)")))
