"""`stromboli logs` from outside, against an API server in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stromboli.__main__ import run
from tests.support.fake_api_server import FakeApiServer, Refusal
from tests.support.fake_logs import FakeLogs
from tests.support.stream_json import says

ENDED = {
    "conditions": [{"type": "Succeeded", "status": "True", "reason": "Completed", "message": "answered in 1 turn"}],
    "attempts": [{"number": 1, "reason": "Completed", "promptSent": "Yes"}],
}
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApiServer]:
    with FakeApiServer().serving() as served:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": served.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield served


@pytest.fixture
def logs(server: FakeApiServer) -> FakeLogs:
    """Those of a run that has ended."""
    server.add("agentruns", {"metadata": {"name": "a", "namespace": "ns"}, "spec": {}, "status": ENDED})
    made = FakeLogs(server)
    made.write(says("Hello."), end=True)
    return made


def test_what_there_is(logs: FakeLogs, capsys: Captured) -> None:
    assert run(["logs", "a"]) == 0
    assert capsys.readouterr() == ("Hello.\n", "")


def test_to_the_end(logs: FakeLogs, capsys: Captured) -> None:
    assert run(["logs", "-f", "a"]) == 0
    assert capsys.readouterr() == ("Hello.\n", "Completed: answered in 1 turn\n")


def test_raw(logs: FakeLogs, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.write(b"\xff\x00", end=True)
    assert run(["logs", "a", "--raw"]) == 0
    assert capfdbinary.readouterr() == (says("Hello.") + b"\xff\x00", b"")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"attempt": "1", "step": "agent"}),
        (["--step", "stderr", "--attempt", "2"], {"attempt": "2", "step": "stderr"}),
        (["--service", "db", "--since", "1m30s"], {"attempt": "1", "service": "db", "sinceSeconds": "90"}),
        (["--since", "100ms"], {"attempt": "1", "step": "agent", "sinceSeconds": "1"}),
    ],
)
def test_what_is_asked_for(logs: FakeLogs, options: list[str], asked: dict[str, str]) -> None:
    logs.refused = [Refusal(400, "BadRequest", "no")]
    assert run(["logs", "a", *options]) == 1
    assert {k: v for k, v in logs.asked[0].items() if k != "uid"} == asked


def test_a_wrong_step_is_answered_by_the_server(logs: FakeLogs, capsys: Captured) -> None:
    said = "the parameter `step` is 'x'; it can be agent, stderr, supervisor, or a hook such as postStart[0]"
    logs.refused = [Refusal(400, "BadRequest", said)]
    assert run(["logs", "a", "--step", "x"]) == 1
    assert capsys.readouterr() == ("", f"stromboli: {said}\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--since", "soon"], "is not a duration"),
        (["--step", "agent", "--service", "db"], "not both"),
        (["--attempt", "0"], "--attempt"),
    ],
)
def test_wrong_usage(options: list[str], words: str, capsys: Captured) -> None:
    assert run(["logs", "a", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_a_run_that_is_not_there(server: FakeApiServer, follow: list[str], capsys: Captured) -> None:
    assert run(["logs", "b", *follow]) == 1
    assert "b" in capsys.readouterr().err


def test_another_namespace(server: FakeApiServer, capsys: Captured) -> None:
    server.add("agentruns", {"metadata": {"name": "a", "namespace": "other"}, "spec": {}, "status": ENDED})
    FakeLogs(server, namespace="other").write(json.dumps({"type": "unknown"}).encode(), end=True)
    assert run(["logs", "a", "-n", "other"]) == 0
    assert capsys.readouterr() == ("", "")
