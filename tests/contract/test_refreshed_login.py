"""The real CLI refreshes its login, under the supervisor: the new one is there for the session's next run."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import token_endpoint
from tests.support.supervised import Supervised, plan
from tests.support.token_endpoint import TokenEndpoint, login

LIMIT = 20.0
OLD, NEW, NEWER, OTHER = (f"sk-ant-oat01-{word}-access-token" for word in ("old", "new", "newer", "other"))
ONCE, TWICE, DONE = (f"sk-ant-ort01-{word}-refresh-token" for word in ("once", "twice", "done"))
EXPIRED = login(OLD, ONCE, expired=True)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[TokenEndpoint]:
    """One that knows the login's refresh token, and the one that it becomes."""
    with token_endpoint.serving(tmp_path, {ONCE: (NEW, TWICE), TWICE: (NEWER, DONE)}) as endpoint:
        yield endpoint


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """The stand-in's address: with a socket the CLI would not use its login."""
    command = [sys.executable, "-m", "stromboli.standin", "--port", "0", "--log", str(tmp_path / "requests")]
    python = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    with subprocess.Popen(command, env=python, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search("http://[^ ]+", process.stdout.readline())
            assert found, "the stand-in did not start"
            yield found.group().strip()
        finally:
            process.terminate()
            process.wait(LIMIT)


@dataclass(frozen=True, slots=True)
class Session:
    """The runs of a session, with the real CLI."""

    box: Supervised
    claude: Path
    environ: dict[str, str]

    @property
    def file(self) -> Path:
        return self.box.root / "session/claude/.credentials.json"

    def run(self, credentials: str, *, answer: str = '"result":"hello"') -> None:
        """A run that is given these, and whose output has this in it."""
        self.box.hand_over(credentials=credentials)
        if (self.box.out / "started").exists():
            self.box.hand_over_again()
        what = plan(
            *(str(self.claude), "--print", "--output-format", "json"),
            workdir=str(self.box.root / "home"),
            files={"prompt": b"ECHO{hello}"},
            credentials=True,
        )
        self.box.run(what, self.environ)
        assert answer in self.box.records().stdout.decode(), self.box.records()

    def tokens(self) -> Any:
        """The access token and the refresh token that are on the session's volume."""
        found = json.loads(self.file.read_text())["claudeAiOauth"]
        return found["accessToken"], found["refreshToken"]

    def expire(self) -> None:
        """What an hour or a day does to the login on the session's volume."""
        found = json.loads(self.file.read_text())
        found["claudeAiOauth"]["expiresAt"] = 1000
        self.file.write_text(json.dumps(found))


@pytest.fixture
def session(box: Supervised, claude: Path, endpoint: TokenEndpoint, api: str) -> Session:
    environ = {
        "PATH": os.defpath,
        "HOME": str(box.root / "home"),
        "IS_SANDBOX": "1",
        "ANTHROPIC_BASE_URL": api,
        "NO_PROXY": "127.0.0.1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return Session(box, claude, environ | endpoint.environ)


def test_a_login_that_the_cli_has_refreshed_is_the_session_s_until_it_is_given_another(
    session: Session, endpoint: TokenEndpoint
) -> None:
    session.run(EXPIRED)
    assert session.tokens() == (NEW, TWICE)
    assert stat.S_IMODE(session.file.stat().st_mode) == 0o600
    session.run(EXPIRED)
    assert (session.tokens(), endpoint.asked) == ((NEW, TWICE), [ONCE]), "the new token is used, and nothing refreshed"
    session.expire()
    session.run(EXPIRED)
    assert (session.tokens(), endpoint.asked) == ((NEWER, DONE), [ONCE, TWICE])
    session.run(login(OTHER, "sk-ant-ort01-others-refresh-token"))
    assert not os.path.lexists(session.file), "what is given anew wins, and is on tmpfs again"
    assert endpoint.asked == [ONCE, TWICE]


def test_a_login_that_need_not_be_refreshed_is_never_on_the_volume(session: Session, endpoint: TokenEndpoint) -> None:
    session.run(login(OLD, ONCE))
    assert not os.path.lexists(session.file)
    assert endpoint.asked == []


def test_a_login_that_cannot_be_refreshed_is_said_each_time(session: Session, endpoint: TokenEndpoint) -> None:
    dead = login(OLD, DONE, expired=True)
    for _ in range(2):
        session.run(dead, answer="OAuth session expired and could not be refreshed")
    assert endpoint.asked == [DONE, DONE]
    endpoint.alive[DONE] = (NEW, TWICE)
    session.run(dead)
    assert session.tokens() == (NEW, TWICE)
