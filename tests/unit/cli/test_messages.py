"""`stromboli messages` from outside, against a read API that really serves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stromboli.__main__ import run
from stromboli.api import address, issue
from stromboli.api.address import Address
from stromboli.api.certificate import Certificate
from stromboli.api.tokens import serving
from stromboli.cli.messages import text
from stromboli.controlplane import kubeconfig
from stromboli.kube import objects
from stromboli.local.home import Home
from stromboli.local.stack import Stack
from stromboli.models.session import Session
from stromboli.node.conversations import Conversation
from stromboli.plan.conversation import Message
from tests.support.fake_discovery import FakeDiscovery
from tests.support.fake_reviews import FakeReviews

LIMIT = 20.0
ID = "33333333-3333-4333-8333-333333333333"
TIME = "2026-11-25T06:44:27.270Z"
SAID = (
    Message("user", TIME, "list it", False, ()),
    Message("assistant", TIME, "", False, ("Bash",)),
    Message("tool", None, "a\nb\x1b[2J", True, ("Bash",)),
)


def issued() -> Certificate:
    return issue.make(["127.0.0.1"], datetime.now(UTC))


def nobodys(home: Path) -> AbstractAsyncContextManager[str]:
    """A read API behind which there is nothing."""

    async def nothing(*_: str) -> None:
        return

    return serving(
        reviews=FakeReviews(),
        lookup=nothing,
        read=nothing,
        discovery=FakeDiscovery(),
        home=home,
        certificate=issued(),
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path / "home")
    found.ensure()
    monkeypatch.setenv("STROMBOLI_HOME", str(found.root))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return found


@pytest.fixture
def token(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose kubeconfig KUBECONFIG names; its context is in `ns`."""
    login(tmp_path / "config", "alice", monkeypatch)
    return "alice"


def login(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig.write(path, "https://127.0.0.1:9", b"x", name, "ns")
    monkeypatch.setenv("KUBECONFIG", str(path))


@pytest.fixture
def served(home: Home) -> Iterator[FakeReviews]:
    """The read API of an operator, in a thread, as the command blocks; the reviews behind it."""
    reviews = FakeReviews()

    async def lookup(namespace: str, name: str) -> Session | None:
        status = {"claudeSessionID": ID, "imageID": "i"} if name == "mine" else {}
        return objects.session({"metadata": {"uid": "u"}, "status": status}) if name != "none" else None

    async def read(uid: str, conversation: str, image: str) -> Conversation | None:
        return Conversation(SAID, False)

    parts: dict[str, Any] = {"reviews": reviews, "lookup": lookup, "read": read, "discovery": FakeDiscovery()}
    with in_a_thread(lambda: serving(**parts, home=home.root, certificate=issued())):
        yield reviews


@contextmanager
def in_a_thread(context: Any) -> Iterator[None]:
    """Inside the block, the asynchronous context is entered on a loop of its own."""
    loop, entered, leave = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def stay() -> None:
        async with context():
            entered.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(stay()))
    thread.start()
    try:
        assert entered.wait(LIMIT), "the server has started"
        yield
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(LIMIT)
        assert not thread.is_alive(), "the server has ended"
        loop.close()


def test_as_text(served: FakeReviews, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["messages", "mine"]) == 0
    assert capsys.readouterr().out == (
        f"user  {TIME}\nlist it\n\nassistant  {TIME}  [Bash]\n\ntool  -  [Bash]\na\nb\\x1b[2J …\n"
    )


def test_as_json(served: FakeReviews, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["messages", "mine", "-n", "ns", "-o", "json"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == {
        "session": "mine",
        "conversation": ID,
        "truncated": False,
        "messages": [m.to_json() for m in SAID],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "the namespace ns has no AgentSession none"),
        (["unused"], "its first run starts one"),
        (["mine", "-n", "other"], "for mine in other"),
        (["../x"], "the path contains a name"),
        (["a/b"], "the path contains a name"),
        ([""], "the path contains a name"),
        (["mine", "-n", "a\nb"], "the path contains a name"),
    ],
)
def test_what_the_operator_says_is_passed_on(
    served: FakeReviews, token: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["messages", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.startswith("stromboli: ")


@pytest.mark.parametrize(("who", "hint"), [("mallory", "KUBECONFIG selects it"), ("bob", "whoever administers")])
def test_whoever_may_not_is_told_what_to_do(
    served: FakeReviews,
    who: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    login(tmp_path / "config", who, monkeypatch)
    assert run(["messages", "mine"]) == 1
    assert hint in capsys.readouterr().err


def test_the_installation_s_kubeconfig_where_none_is_named(
    served: FakeReviews, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Stack(home, {}).kubeconfig
    path.parent.mkdir()
    kubeconfig.write(path, "https://127.0.0.1:9", b"x", "alice", "ns")
    assert run(["messages", "mine"]) == 0
    assert capsys.readouterr().out.startswith("user")


def test_no_operator(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["messages", "mine"]) == 1
    assert "`stromboli up` starts it" in capsys.readouterr().err


def test_one_that_was_killed_and_left_its_address(home: Home, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Address("", "")
    with in_a_thread(lambda: nobodys(home.root)):
        kept = address.read(home.root)
    address.write(home.root, kept)
    assert run(["messages", "mine"]) == 1
    said = capsys.readouterr().err
    assert f"does not respond at {kept.url}" in said
    assert "`stromboli up`" in said


def test_another_who_has_its_port_gets_no_token(
    served: FakeReviews, home: Home, token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = address.read(home.root)
    other = tmp_path / "other"
    other.mkdir()
    with in_a_thread(lambda: nobodys(other)):
        authority = address.read(other).authority
    address.write(home.root, Address(mine.url, authority))
    assert run(["messages", "mine"]) == 1
    assert "certificate verify failed" in capsys.readouterr().err.lower()
    assert served.asked == []


def test_a_certificate_that_is_none(home: Home, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    for authority in ("", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        address.write(home.root, Address("https://127.0.0.1:9", authority))
        assert run(["messages", "mine"]) == 1
        assert "`stromboli up`" in capsys.readouterr().err


def test_a_program_that_gives_no_token(
    served: FakeReviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    login(path, "alice", monkeypatch)
    for command in ("/bin/false", "/nowhere/at/all", "/bin/true"):
        program = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": command}
        document = path.read_text().replace("token: alice", f"exec: {json.dumps(program)}")
        (tmp_path / "exec").write_text(document)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "exec"))
        assert run(["messages", "mine"]) == 1
        assert "the kubeconfig gives no token" in capsys.readouterr().err


def test_a_token_that_cannot_be_sent(
    served: FakeReviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    login(tmp_path / "config", "s3cret\nx", monkeypatch)
    assert run(["messages", "mine"]) == 1
    said = capsys.readouterr().err
    assert "the kubeconfig gives no token" in said
    assert "s3cr" not in said


def test_what_is_left_out_is_said_to_be() -> None:
    assert text({"truncated": True, "messages": []}) == "(some messages are not shown)"
    assert text({"messages": []}) == "the conversation has no messages yet"
