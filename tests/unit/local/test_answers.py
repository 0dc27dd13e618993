"""Who answers: what was chosen stays, whatever the next shell has in its environment."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stromboli.errors import InvalidInput
from stromboli.local import answers
from stromboli.local.answers import Claude, Offline

KEY = Claude("ANTHROPIC_API_KEY", "sk-ant-api03-k")
TOKEN = Claude("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-t")
LOGIN = Claude(".credentials.json", json.dumps({"claudeAiOauth": {"accessToken": "a"}}), "https://gw")


def after(chosen: answers.Answers) -> answers.Answers | None:
    return answers.kept(answers.secret(chosen))


@pytest.mark.parametrize("chosen", [KEY, TOKEN, LOGIN, Offline(chosen=True)], ids=str)
@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": "sk-ant-other"}, {"CLAUDE_CODE_OAUTH_TOKEN": "t"}])
def test_what_was_chosen_stays(chosen: answers.Answers, environ: dict[str, str]) -> None:
    assert answers.choose(after(chosen), environ) == chosen


def test_while_nobody_has_chosen_the_environment_counts() -> None:
    for before in (None, after(Offline())):
        assert answers.choose(before, {}) == Offline()
        assert answers.choose(before, {"ANTHROPIC_API_KEY": ""}) == Offline()
        assert answers.choose(before, {"ANTHROPIC_API_KEY": "k"}) == Claude("ANTHROPIC_API_KEY", "k")
        assert answers.choose(before, {"CLAUDE_CODE_OAUTH_TOKEN": "t"}) == Claude("CLAUDE_CODE_OAUTH_TOKEN", "t")
    both = {"ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_OAUTH_TOKEN": "t", "ANTHROPIC_BASE_URL": "https://gw"}
    assert answers.choose(None, both) == Claude("ANTHROPIC_API_KEY", "k", "https://gw")


def test_credentials_that_are_not_used_are_named() -> None:
    assert answers.unused(KEY, {}) is None
    assert answers.unused(KEY, {"ANTHROPIC_API_KEY": KEY.value}) is None
    assert answers.unused(KEY, {"CLAUDE_CODE_OAUTH_TOKEN": "t"}) == "CLAUDE_CODE_OAUTH_TOKEN"
    assert answers.unused(Offline(chosen=True), {"ANTHROPIC_API_KEY": "k"}) == "ANTHROPIC_API_KEY"


@pytest.mark.parametrize("chosen", [KEY, TOKEN, LOGIN], ids=str)
def test_the_secret_has_what_the_operator_reads(chosen: Claude) -> None:
    secret: dict[str, Any] = answers.secret(chosen)
    data = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert data == {chosen.key: chosen.value} | ({"ANTHROPIC_BASE_URL": "https://gw"} if chosen.base_url else {})
    assert chosen.value not in str(chosen), "what is printed has no secret in it"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (" sk-ant-api03-k\n", None, KEY),
        ("sk-ant-oat01-t\n", None, TOKEN),
        (LOGIN.value, None, Claude(LOGIN.key, LOGIN.value)),
        ("gateway-key", "key", Claude("ANTHROPIC_API_KEY", "gateway-key")),
        ("gateway-token", "token", Claude("CLAUDE_CODE_OAUTH_TOKEN", "gateway-token")),
    ],
)
def test_credentials_are_recognised(text: str, kind: str | None, expected: Claude) -> None:
    assert answers.from_text(text, kind) == expected


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", None, "are empty"),
        ("x" * 70000, "key", "larger than 64 KiB"),
        ("my-secret-word", None, "--kind key or --kind token"),
        ("my secret word", "key", "no spaces"),
        ("my-secret-word", "file", "not valid JSON"),
        ("[" * 60000, "file", "not valid JSON"),
        ('{"other": "my-secret-word"}', None, "claudeAiOauth.accessToken"),
        ("[1]", "file", "claudeAiOauth.accessToken"),
    ],
)
def test_what_is_none_is_refused_without_being_repeated(text: str, kind: str | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        answers.from_text(text, kind)
    assert "secret" not in str(refused.value)
