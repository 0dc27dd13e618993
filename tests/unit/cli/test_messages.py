"""`stromboli messages` from outside, against a read API that really serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.__main__ import run
from stromboli.api.messages import Messages
from stromboli.cli.messages import text
from stromboli.controlplane import kubeconfig
from stromboli.kube import objects
from stromboli.local.home import Home
from stromboli.models.session import Session
from stromboli.node.conversations import Conversation, History
from stromboli.plan.conversation import Message
from stromboli.plan.history import Wanted
from tests.unit.cli.read_api import ReadAPI

ID = "33333333-3333-4333-8333-333333333333"
TIME = "2026-11-25T06:44:27.270Z"
SAID = (
    Message("user", TIME, "list it", False, ()),
    Message("assistant", TIME, "", False, ("Bash",)),
    Message("tool", None, "a\nb\x1b[2J", True, ("Bash",)),
)


class Node:
    """It has the conversation of any session."""

    async def read(self, session_uid: str, conversation: str, image_id: str) -> Conversation | None:
        return Conversation(SAID, False)

    async def entries(self, session_uid: str, conversation: str, image_id: str, wanted: Wanted) -> History | None:
        raise AssertionError("the command does not ask for them")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path / "home")
    found.ensure()
    monkeypatch.setenv("STROMBOLI_HOME", str(found.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return found


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadAPI]:
    """The read API of an operator, as the API server shows it to a user of KUBECONFIG, whose namespace is `ns`."""

    async def lookup(namespace: str, name: str) -> Session | None:
        status = {"claudeSessionID": ID, "imageID": "i"} if name == "mine" else {}
        return objects.session({"metadata": {"uid": "u"}, "status": status}) if name != "none" else None

    with ReadAPI(Messages(lookup, Node())).serving() as api:
        kubeconfig.write(tmp_path / "config", api.url, b"x", "alice", "ns")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield api


def test_as_text(served: ReadAPI, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["messages", "mine"]) == 0
    assert capsys.readouterr().out == (
        f"user  {TIME}\nlist it\n\nassistant  {TIME}  [Bash]\n\ntool  -  [Bash]\na\nb\\x1b[2J …\n"
    )


def test_as_json(served: ReadAPI, capsys: pytest.CaptureFixture[str]) -> None:
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
    ("arguments", "said", "code"),
    [
        (["none"], "the namespace ns has no AgentSession none", 1),
        (["unused"], "its first run starts one", 1),
        (["../x"], "'../x' is not a name", 2),
        (["a/b"], "'a/b' is not a name", 2),
        ([""], "'' is not a name", 2),
        (["mine", "-n", "a\nb"], "is not a name", 2),
    ],
)
def test_what_the_operator_says_is_passed_on(
    served: ReadAPI, arguments: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["messages", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.startswith("stromboli: ")


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "KUBECONFIG to a kubeconfig that the cluster accepts"), (403, "whoever administers")]
)
def test_whoever_may_not_is_told_what_to_do(
    served: ReadAPI, status: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    served.refuse(status, "you may not")
    assert run(["messages", "mine"]) == 1
    assert hint in capsys.readouterr().err


def test_the_installation_s_kubeconfig_where_none_is_named(
    served: ReadAPI, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG")
    home.kubeconfig.parent.mkdir()
    kubeconfig.write(home.kubeconfig, served.url, b"x", "alice", "ns")
    assert run(["messages", "mine"]) == 0
    assert capsys.readouterr().out.startswith("user")


def test_a_cluster_without_a_read_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ReadAPI().serving() as api:
        kubeconfig.write(tmp_path / "config", api.url, b"x", "alice", "ns")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        assert run(["messages", "mine"]) == 1
    assert "kubectl get apiservice v1alpha1.agents.stromboli.dev" in capsys.readouterr().err


def test_what_is_left_out_is_said_to_be() -> None:
    assert text({"truncated": True, "messages": []}) == "(some messages are not shown)"
    assert text({"messages": []}) == "the conversation has no messages yet"
