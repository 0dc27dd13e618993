"""`stromboli get`, `wait`, `cancel`, `suspend`, `resume` and `rerun` from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.__main__ import run as stromboli
from stromboli.cli import exitcodes
from stromboli.cli.outage import Outage
from stromboli.errors import ApiUnreachable
from stromboli.reasons import Reason
from tests.support.fake_api_server import FakeApiServer, Refusal, Request
from tests.unit.cli.cluster import api as api
from tests.unit.cli.cluster import ended, once_watched, run

Out = pytest.CaptureFixture[str]
DONE = ended("Completed", "answered", "True")


def at(time: str, name: str, **more: Any) -> dict[str, Any]:
    made = run(name, **more)
    made["metadata"]["creationTimestamp"] = f"2026-11-30T{time}Z"
    return made


def test_the_table_has_the_newest_last(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", at("12:00:00", "new", status=DONE))
    api.add("agentruns", at("11:00:00", "old-one"))
    assert stromboli(["get"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME      SUCCEEDED   REASON      AGE",
        "old-one   -           -           5s",
        "new       True        Completed   5s",
    ]
    assert "as=Table" in api.requests[-1].headers["accept"]


def test_wide_and_all_namespaces(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a", "one"))
    api.add("agentruns", run("b", "two"))
    assert stromboli(["get", "-A", "-o", "wide"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAMESPACE", "NAME", "SUCCEEDED", "REASON", "AGE", "SESSION"]
    assert [row.split()[:2] for row in rows] == [["one", "a"], ["two", "b"]]


def test_what_the_locale_cannot_show_is_escaped(api: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add("agentruns", run("a", status=ended("fertig ✓ é")))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1:strict")
    shown = subprocess.run([sys.executable, "-m", "stromboli", "get"], capture_output=True, timeout=60)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert "fertig \\u2713 é".encode("latin-1") in shown.stdout


def test_an_outage_is_said_once_until_its_cause_is_another_one() -> None:
    said: list[str] = []
    outage = Outage(said.append)
    for error in ("refused", "refused", "silent", "silent"):
        outage.lost(ApiUnreachable(error))
    outage.over()
    outage.lost(ApiUnreachable("silent"))
    assert said == ["refused; trying again", "silent; trying again", "silent; trying again"]


def test_names_of_some(api: FakeApiServer, capsys: Out) -> None:
    labelled = run("b")
    labelled["metadata"]["labels"] = {"team": "web"}
    api.add("agentruns", run("a"))
    api.add("agentruns", labelled)
    assert stromboli(["get", "-o", "name", "-l", "team=web"]) == 0
    assert capsys.readouterr().out == "agentrun.stromboli.dev/b\n"
    assert stromboli(["get", "b", "a", "-o", "name"]) == 0
    assert sorted(capsys.readouterr().out.split()) == ["agentrun.stromboli.dev/a", "agentrun.stromboli.dev/b"]


def test_as_objects(api: FakeApiServer, capsys: Out) -> None:
    hostile = api.add("agentruns", run("a", status=ended("AgentFailed", "\x1b[2J")))
    assert stromboli(["get", "a", "-o", "json"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert json.loads(printed) == hostile
    assert stromboli(["get", "-o", "yaml"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert yaml.safe_load(printed) == {"apiVersion": "v1", "kind": "List", "items": [hostile]}


def test_nothing_there(api: FakeApiServer, capsys: Out) -> None:
    assert stromboli(["get"]) == 0
    assert capsys.readouterr() == ("", "no AgentRuns in the namespace ns\n")
    assert stromboli(["get", "-A", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_a_watch_shows_what_changes_and_goes_on_after_a_loss(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a"))

    def story() -> None:
        api.until(lambda: api.watches, "it watches")
        api.before = starting
        api.status("a", ended("Running", status="Unknown"))
        api.until(lambda: len(api.named("GET")) > 1, "it watches")
        api.drop()
        api.until(lambda: not api.watches, "the watch has broken off")
        api.status("a", DONE)
        api.until(lambda: refused and api.watches, "it watches again")
        api.before = forbid
        api.drop()

    refused: list[Request] = []

    def starting(request: Request) -> None:
        if not refused:
            refused.append(request)
            raise Refusal(503, "ServiceUnavailable", "it is starting")

    def forbid(request: Request) -> None:
        raise Refusal(403, "Forbidden", "no more")

    teller = threading.Thread(target=story)
    teller.start()
    assert stromboli(["get", "-w"]) == 1, "the end of this test"
    teller.join()
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["NAME", "SUCCEEDED", "REASON", "AGE"],
        ["a", "-", "-", "5s"],
        ["a", "Unknown", "Running", "5s"],
        ["a", "True", "Completed", "5s"],
    ]
    assert "IncompleteRead(0 bytes read); trying again" in printed.err
    assert "it is starting; trying again" in printed.err


@pytest.mark.parametrize(
    "arguments",
    [["get", "none"], ["cancel", "none"], ["rerun", "none"], ["wait", "none"], ["resume", "none"], ["logs", "none"]],
)
def test_a_run_that_is_not_there(api: FakeApiServer, capsys: Out, arguments: list[str]) -> None:
    assert stromboli(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("stromboli: there is no AgentRun none in the namespace ns\n")
    assert "`stromboli get -n ns`" in said


@pytest.mark.parametrize("output", ["table", "name", "json", "yaml"])
def test_those_that_are_there_are_shown_all_the_same(api: FakeApiServer, capsys: Out, output: str) -> None:
    api.add("agentruns", run("a"))
    assert stromboli(["get", "none", "a", "neither", "-o", output]) == 1
    printed = capsys.readouterr()
    assert "a" in printed.out.replace("/", " ").replace('"', " ").split()
    assert printed.err.startswith("stromboli: there is no AgentRun none, neither in the namespace ns\n")


@pytest.mark.parametrize("arguments", [["get"], ["get", "a"], ["cancel", "a"], ["wait", "a"], ["rerun", "a"]])
def test_who_may_not(api: FakeApiServer, capsys: Out, arguments: list[str]) -> None:
    def forbid(request: Request) -> None:
        raise Refusal(403, "Forbidden", 'User "alice" cannot list resource "agentruns"')

    api.before = forbid
    assert stromboli(arguments) == 1
    assert "ClusterRole stromboli-user" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["get"], ["cancel", "a"], ["wait", "a"], ["run", "i", "x"]])
def test_no_cluster(capsys: Out, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STROMBOLI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert stromboli(arguments) == 1
    assert "no kubeconfig says which cluster to use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (DONE, 0),
        (ended("AgentFailed"), 1),
        (ended("InvalidSpec"), 2),
        (ended("PolicyViolation"), 2),
        (ended("Canceled"), 3),
        (ended("TimedOut"), 124),
        (ended("OfANewerOperator"), 1),
    ],
)
def test_a_wait_ends_as_the_run_did(api: FakeApiServer, status: dict[str, object], code: int) -> None:
    api.add("agentruns", run("a"))
    once_watched(api, lambda: api.status("a", status))
    assert stromboli(["wait", "a"]) == code


def test_every_end_has_a_code() -> None:
    assert {exitcodes.of_run(each) for each in Reason if each.status == "False"} == {1, 2, 3, 124}
    assert [each for each in Reason if each.status == "True" and exitcodes.of_run(each)] == []


def test_a_wait_for_several(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("good", status=DONE))
    api.add("agentruns", run("late", status=ended("TimedOut", "too long")))
    api.add("agentruns", run("bad", status=ended("AgentFailed")))
    assert stromboli(["wait", "good", "late", "bad"]) == 124
    assert capsys.readouterr().out == (
        "agentrun/good Completed: answered\nagentrun/late TimedOut: too long\nagentrun/bad AgentFailed\n"
    )


@pytest.mark.parametrize(
    ("until", "status", "code"),
    [
        ("started", {**ended("Running", status="Unknown"), "attempts": [{"number": 1}]}, 0),
        ("started", ended("InvalidSpec"), 2),
        ("condition=succeeded=unknown", ended("Running", status="Unknown"), 0),
        ("condition=Succeeded", DONE, 0),
        ("condition=Allowed", ended("AgentFailed"), 1),
        ("condition=Allowed", DONE, 1),
        ("deleted", {}, 4),
        ("finished", {}, 4),
    ],
)
def test_what_can_be_waited_for(api: FakeApiServer, until: str, status: dict[str, object], code: int) -> None:
    api.add("agentruns", run("a", status=status))
    assert stromboli(["wait", "a", "--for", until, "--timeout", "0.2s"]) == code


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("finished", "has not ended"),
        ("started", "has not started"),
        ("deleted", "is not deleted"),
        ("condition=Allowed", "its condition Allowed is not True"),
    ],
)
def test_it_is_said_what_did_not_come_true(api: FakeApiServer, until: str, said: str, capsys: Out) -> None:
    api.add("agentruns", run("a", status=ended("Queued", "the next one", "Unknown")))
    assert stromboli(["wait", "a", "--for", until, "--timeout", "0.2s"]) == 4
    assert capsys.readouterr().err == f"agentrun/a {said} after 200ms: Queued: the next one\n"


def test_names_as_they_are_written_elsewhere(api: FakeApiServer, capsys: Out) -> None:
    """By `-o name`, and by kubectl."""
    api.add("agentruns", run("a", status=DONE))
    for name in ("agentrun.stromboli.dev/a", "agentrun/a", "agentruns/a", "agentruns.stromboli.dev/a", "arun/a"):
        for command in ("get", "wait", "cancel", "suspend", "resume", "rerun"):
            assert stromboli([command, name]) == 0
    assert stromboli(["get", "pod/a"]) == 2
    assert "'pod/a' is not a name" in capsys.readouterr().err


def test_a_run_that_is_deleted_meanwhile(api: FakeApiServer) -> None:
    for until, code in (("finished", 3), ("deleted", 0)):
        api.add("agentruns", run("a"))
        once_watched(api, lambda: api.remove("a"))
        assert stromboli(["wait", "a", "--for", until]) == code


def test_another_run_that_takes_the_name_is_not_the_one(api: FakeApiServer, capsys: Out) -> None:
    """Its deletion may be missed, while there is no connection."""
    api.add("agentruns", run("a"))
    once_watched(api, lambda: api.add("agentruns", run("a", status=DONE)))
    assert stromboli(["wait", "a"]) == 3
    assert capsys.readouterr().err == "agentrun/a was deleted\n"


@pytest.mark.parametrize("wrong", [["--for", "x"], ["--for", "condition="], ["--timeout", "5"], ["--for", "deleted=1"]])
def test_a_wait_that_is_no_wait(api: FakeApiServer, wrong: list[str]) -> None:
    assert stromboli(["wait", "a", *wrong]) == 2


def test_cancel_says_what_was_spent(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a"))
    spent: dict[str, Any] = {"usage": {"inputTokens": 10, "outputTokens": 2, "costUSD": 0.5}}
    once_watched(api, lambda: api.status("a", ended("Canceled", "stopped", **spent)))
    assert stromboli(["cancel", "a", "--wait"]) == 0
    assert capsys.readouterr().out == (
        "agentrun/a is being canceled\nagentrun/a Canceled: stopped (10 input and 2 output tokens, $0.5000)\n"
    )
    assert api.objects["agentruns", "ns", "a"]["spec"]["cancel"] is True


def test_only_what_has_not_ended_is_changed(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a", status=DONE))
    api.add("agentruns", run("b"))
    assert stromboli(["suspend", "--all"]) == 0
    assert stromboli(["cancel", "a", "b"]) == 0
    assert capsys.readouterr().out == (
        "agentrun/b is suspended\nagentrun/a has ended already: Completed: answered\nagentrun/b is being canceled\n"
    )
    assert [request.path[-1] for request in api.named("PATCH")] == ["b", "b"]


def test_suspend_and_resume(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a", status={**ended("Running", status="Unknown"), "attempts": [{"number": 1}]}))
    assert stromboli(["resume", "a"]) == 0
    assert stromboli(["suspend", "a"]) == 0
    assert api.objects["agentruns", "ns", "a"]["spec"]["suspend"] is True
    assert stromboli(["resume", "a"]) == 0
    assert api.objects["agentruns", "ns", "a"]["spec"]["suspend"] is False
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, third) == ("agentrun/a is not suspended", "agentrun/a goes on")
    assert "has begun" in second


def test_one_that_waits_for_its_next_attempt_is_suspended_at_once(api: FakeApiServer, capsys: Out) -> None:
    api.add("agentruns", run("a", status={**ended("Retrying", status="Unknown"), "attempts": [{"number": 1}]}))
    assert stromboli(["suspend", "a"]) == 0
    assert capsys.readouterr().out == "agentrun/a is suspended: its next attempt is held back\n"


@pytest.mark.parametrize("command", ["cancel", "suspend", "resume"])
def test_none_are_left_that_could_be_changed(api: FakeApiServer, capsys: Out, command: str) -> None:
    api.add("agentruns", run("a", status=DONE))
    assert stromboli([command, "--all"]) == 0
    assert capsys.readouterr().err == "no AgentRuns that have not ended in the namespace ns\n"
    assert stromboli([command, "-l", "x=y"]) == 0
    assert capsys.readouterr().err == "no AgentRuns that have not ended in the namespace ns with these labels\n"


@pytest.mark.parametrize("arguments", [[], ["a", "--all"], ["a", "-l", "x=y"]])
def test_it_is_clear_what_is_canceled(api: FakeApiServer, arguments: list[str]) -> None:
    assert stromboli(["cancel", *arguments]) == 2
    assert api.requests == []


def test_rerun_runs_the_same_again(api: FakeApiServer, capsys: Out) -> None:
    first = run("mine", status=ended("Canceled"))
    first["metadata"] |= {"labels": {"team": "web", "argocd.argoproj.io/instance": "x"}, "annotations": {"a": "b"}}
    first["spec"] |= {"cancel": True, "suspend": False, "timeout": "5m"}
    api.add("agentruns", first)
    assert stromboli(["rerun", "mine"]) == 0
    name = capsys.readouterr().out.strip()
    assert name.startswith("mine-")
    made = api.objects["agentruns", "ns", name]
    assert made["spec"] == {"prompt": "x", "image": "i", "timeout": "5m"}
    assert made["metadata"]["labels"] == {"team": "web"}
    assert "annotations" not in made["metadata"]
    assert stromboli(["rerun", name]) == 0
    again = capsys.readouterr().out.strip()
    assert (again.startswith("mine-"), len(again)) == (True, len(name)), "names do not grow"
