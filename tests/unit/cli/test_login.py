"""`stromboli login` and `logout`: where credentials come from, what is said, and that none is ever shown."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from stromboli.__main__ import run
from stromboli.local.answers import Answers, Claude, Offline
from stromboli.local.home import Home
from stromboli.local.stack import PartStatus, Stack

LOGIN = json.dumps({"claudeAiOauth": {"accessToken": "secret-a"}})


class Installed:
    """An installation that notes what was chosen; `up` is whether its API server answers."""

    def __init__(self) -> None:
        self.chosen: list[Answers] = []
        self.up = True


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    installed = Installed()
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STROMBOLI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Stack, "status", lambda self: [PartStatus("kube-apiserver", 1, installed.up, "")])
    monkeypatch.setattr(Stack, "answers_up", lambda self, chosen: installed.chosen.append(chosen))
    Home(tmp_path / "home").ensure()
    return installed


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape"))))


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("sk-ant-api03-secret\n", [], Claude("ANTHROPIC_API_KEY", "sk-ant-api03-secret")),
        ("sk-ant-oat01-secret\n", [], Claude("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-secret")),
        (LOGIN, [], Claude(".credentials.json", LOGIN)),
        ("secret", ["--kind", "token"], Claude("CLAUDE_CODE_OAUTH_TOKEN", "secret")),
        ("secret", ["--kind", "key", "--base-url", "https://gw"], Claude("ANTHROPIC_API_KEY", "secret", "https://gw")),
    ],
)
def test_from_standard_input(
    text: str,
    options: list[str],
    expected: Claude,
    installed: Installed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    piped(monkeypatch, text)
    assert run(["login", *options]) == 0
    assert installed.chosen == [expected]
    said = capsys.readouterr()
    assert said.out.startswith("Claude answers, with ")
    assert "secret" not in said.out + said.err


def test_from_the_environment(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["login", "--from-env"]) == 1, "there is nothing"
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "secret")
    assert run(["login", "--from-env"]) == 0
    assert installed.chosen == [Claude("CLAUDE_CODE_OAUTH_TOKEN", "secret")]


def test_from_the_clis_own_file(installed: Installed, tmp_path: Path) -> None:
    file = tmp_path / ".credentials.json"
    file.write_text(LOGIN)
    assert run(["login", "--file", str(file)]) == 0
    assert installed.chosen == [Claude(".credentials.json", LOGIN)]
    assert run(["login", "--file", str(file), "--from-env"]) == 2


def test_logout(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logout"]) == 0
    assert installed.chosen == [Offline(chosen=True)]
    assert "offline stand-in answers" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["login", "logout"])
def test_while_it_is_down(
    command: str, installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "sk-ant-api03-secret")
    installed.up = False
    assert run([command]) == 1
    assert "`stromboli up` starts it" in capsys.readouterr().err
    assert installed.chosen == []


@pytest.mark.parametrize("text", ["my-secret", "my-secret\udcff"], ids=["text", "not UTF-8"])
def test_what_is_no_credential_is_not_stored(
    text: str, installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, text)
    assert run(["login"]) == 1
    assert "--kind key or --kind token" in (said := capsys.readouterr().err)
    assert "my-secret" not in said
    assert installed.chosen == []
