"""Who answers the agents of a local installation: Claude, with which credentials, or the offline stand-in. Pure.

The choice is stored in a Secret of the local cluster until `stromboli login` or `stromboli logout` changes it.
Only an installation without a choice takes credentials from the environment.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import bounds
from stromboli.errors import InvalidInput

NAMESPACE = "stromboli-system"
# The same name as in manifests/policy.yaml, so that a policy for a cluster finds the credentials here as well.
SECRET = "claude"
API_KEY, TOKEN, FILE = "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", ".credentials.json"
BASE_URL = "ANTHROPIC_BASE_URL"
KINDS = {"key": API_KEY, "token": TOKEN, "file": FILE}
_WORDS = {API_KEY: "an API key", TOKEN: "an OAuth token", FILE: "a login of the Claude CLI"}
_LOGGED_OUT = "stromboli.dev/logged-out"
MOST = 65536  # bytes of credentials
# The stand-in needs none, but the CLI does not start without one.
_NO_KEY = "offline-stand-in"


@dataclass(frozen=True, slots=True)
class Claude:
    """Claude answers. `key` is the Secret's key that holds `value`; `base_url` is a gateway's, if there is one."""

    key: str
    value: str
    base_url: str | None = None

    def __str__(self) -> str:
        return f"Claude answers, with {_WORDS[self.key]}" + (f" at {self.base_url}" if self.base_url else "")


@dataclass(frozen=True, slots=True)
class Offline:
    """The stand-in answers; `chosen` by a logout, or because there is nothing else."""

    chosen: bool = False

    def __str__(self) -> str:
        return "an offline stand-in answers, not Claude"


Answers = Claude | Offline


def from_environment(environ: Mapping[str, str]) -> Claude | None:
    """The credentials in the environment. If there are two kinds, the API key wins, as in the CLI."""
    for key in (API_KEY, TOKEN):
        if value := environ.get(key, "").strip():
            return Claude(key, value, environ.get(BASE_URL) or None)
    return None


def from_text(text: str, kind: str | None = None, base_url: str | None = None) -> Claude:
    """Credentials as they were typed or piped in; `kind`, one of KINDS, is needed if they cannot be recognized.

    Raises InvalidInput, whose message never contains the text.
    """
    text = text.strip()
    if not text or len(text.encode()) > MOST:
        raise InvalidInput(
            f"the credentials are {'empty' if not text else 'larger than 64 KiB'}; give an API key (sk-ant-…), an "
            "OAuth token (sk-ant-oat…) or the content of a .credentials.json"
        )
    key = KINDS[kind] if kind else _recognised(text)
    if key == FILE:
        _check_file(text)
    elif len(text.split()) > 1:
        raise InvalidInput(f"{_WORDS[key]} has no spaces or line breaks in it; give the key or token alone")
    return Claude(key, text, base_url)


def kept(secret: Mapping[str, Any] | None) -> Answers | None:
    """The choice in an installation's Secret; None if there is none yet."""
    if secret is None:
        return None
    if _LOGGED_OUT in (secret["metadata"].get("annotations") or {}):
        return Offline(chosen=True)
    data = {
        name: base64.b64decode(value).decode(errors="replace") for name, value in (secret.get("data") or {}).items()
    }
    for key in KINDS.values():
        if (value := data.get(key)) and value != _NO_KEY:
            return Claude(key, value, data.get(BASE_URL))
    return None


def choose(before: Answers | None, environ: Mapping[str, str]) -> Answers:
    """The choice that was made; otherwise the environment's credentials; otherwise the stand-in."""
    return before or from_environment(environ) or Offline()


def unused(answers: Answers, environ: Mapping[str, str]) -> str | None:
    """The variable that holds credentials other than those in use."""
    found = from_environment(environ)
    if found is None or (isinstance(answers, Claude) and answers.value == found.value):
        return None
    return found.key


def secret(answers: Answers) -> dict[str, Any]:
    """The Secret that stores the choice; the operator reads the credentials from it."""
    if isinstance(answers, Claude):
        data = {answers.key: answers.value} | ({BASE_URL: answers.base_url} if answers.base_url else {})
    else:
        data = {API_KEY: _NO_KEY}
    annotations = {_LOGGED_OUT: "true"} if isinstance(answers, Offline) and answers.chosen else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "annotations": annotations},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()},
    }


def _recognised(text: str) -> str:
    if text.startswith("{"):
        return FILE
    if text.startswith("sk-ant-oat"):
        return TOKEN
    if text.startswith("sk-ant-"):
        return API_KEY
    raise InvalidInput(
        "the credentials are neither an API key (sk-ant-…), nor an OAuth token (sk-ant-oat…), nor a .credentials.json; "
        "if theirs is another form, say what they are with --kind key or --kind token"
    )


def _check_file(text: str) -> None:
    try:
        document = bounds.json_document(text, bounds.DOCUMENT)
    except ValueError:
        raise InvalidInput(
            "the credentials are not valid JSON; give the whole .credentials.json of the Claude CLI"
        ) from None
    login = document.get("claudeAiOauth") if isinstance(document, dict) else None
    if not isinstance(login, dict) or not isinstance(login.get("accessToken"), str):
        raise InvalidInput(
            "the credentials have no claudeAiOauth.accessToken; give the .credentials.json that the Claude CLI writes "
            "at a login"
        )
