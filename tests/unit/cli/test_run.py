"""`stromboli run` from outside: the manifest that it makes, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.__main__ import run as stromboli
from stromboli.cli.runs import launching, manifest
from tests.support.fake_api_server import FakeApiServer, Object, Refusal, Reply, Request
from tests.support.fake_logs import FakeLogs
from tests.unit.cli.cluster import api as api
from tests.unit.cli.cluster import ended, later, once_watched, run

Out = pytest.CaptureFixture[str]
DONE = ended("Completed", "answered", "True", result={"text": "42"})
RUNNING = ended("Running", "the agent is running", "Unknown")


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """As in a terminal: whoever starts the tests in the background has had ^C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def dry(capsys: Out, *arguments: str) -> Any:
    assert stromboli(["run", *arguments, "--dry-run"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_what_every_option_sets(capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "t")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    options = """--name a -n ns -l team=web --session s --fork f -v ./src:/w:ro -v /x:/y -e A=1=2 -e TOKEN -w /w
    -m 1Gi --cpus 2 --pull-secret p --timeout 5m --progress-timeout 1m --retries 2 --retry-on AgentFailed
    --fail-on-denied --ttl 60 --suspend --model opus --max-turns 3 --max-budget-usd 0.5 --append-system-prompt x
    --disallowed-tool Bash --permission-mode plan --dangerously-skip-permissions --json-schema schema.json
    --mcp-config schema.json"""
    assert dry(capsys, "python:3.12", *options.split(), "--allowed-tool", "Bash(git *)", "what", "is it?") == {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "a", "namespace": "ns", "labels": {"team": "web"}},
        "spec": {
            "prompt": "what is it?",
            "image": "python:3.12",
            "session": {"name": "s", "fork": "f"},
            "volumes": [f"{tmp_path}/src:/w:ro", "/x:/y"],
            "env": [{"name": "A", "value": "1=2"}, {"name": "TOKEN", "value": "t"}],
            "workdir": "/w",
            "resources": {"memory": "1Gi", "cpus": "2"},
            "imagePullSecrets": [{"name": "p"}],
            "timeout": "5m",
            "progressTimeout": "1m",
            "backoffLimit": 2,
            "retryOn": ["AgentFailed"],
            "failOnDenied": True,
            "ttlSecondsAfterFinished": 60,
            "suspend": True,
            "claude": {
                "model": "opus",
                "maxTurns": 3,
                "maxBudgetUSD": 0.5,
                "appendSystemPrompt": "x",
                "allowedTools": ["Bash(git *)"],
                "disallowedTools": ["Bash"],
                "permissionMode": "plan",
                "dangerouslySkipPermissions": True,
                "jsonSchema": {"type": "object"},
                "mcpConfigs": [{"type": "object"}],
            },
        },
    }


def test_every_option_is_a_field_of_the_kind() -> None:
    from stromboli.cli.runs.run import FLAGS
    from stromboli.models.agentrun import AgentRunSpec

    schema = AgentRunSpec.model_json_schema()
    for flag in FLAGS:
        into: Any = schema
        for part in flag.path.split("."):
            reference = next((each["$ref"] for each in (into, *into.get("anyOf", ())) if "$ref" in each), "")
            into = schema["$defs"][reference.rpartition("/")[2]] if reference else into
            assert part in into["properties"], flag
            into = into["properties"][part]


def test_nothing_is_set_that_was_not_said(capsys: Out) -> None:
    made = dry(capsys, "-p", "hello")
    assert made["spec"] == {"prompt": "hello"}
    assert made["metadata"]["generateName"] == "run-"
    assert made["metadata"]["name"].startswith("run-")
    assert "namespace" not in made["metadata"]


def test_a_manifest_is_completed(capsys: Out, tmp_path: Path) -> None:
    spec = {
        "promptFrom": {"configMapKeyRef": {"name": "c", "key": "k"}},
        "image": "node:20",
        "volumes": ["/a:/a"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "claude": {"model": "sonnet", "allowedTools": ["Read"]},
    }
    file = tmp_path / "run.yaml"
    file.write_text(
        yaml.safe_dump({**run("mine"), "apiVersion": "stromboli.dev/v1alpha1", "kind": "AgentRun", "spec": spec})
    )
    assert dry(capsys, "-f", str(file))["spec"] == spec
    options = ["-v", "/b:/b", "-e", "A=3", "--allowed-tool", "Edit", "--max-turns", "2", "--generate-name", "x-"]
    made = dry(capsys, "-f", str(file), "python:3.12", "hello", *options)
    assert made["metadata"]["name"].startswith("x-")
    assert made["spec"] == {
        "prompt": "hello",
        "image": "python:3.12",
        "volumes": ["/a:/a", "/b:/b"],
        "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}],
        "claude": {"model": "sonnet", "allowedTools": ["Read", "Edit"], "maxTurns": 2},
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("kind: ConfigMap", "has 1 objects, 0 of them AgentRuns"),
        ("kind: AgentRun\n---\nkind: AgentRun", "has 2 objects, 2 of them AgentRuns"),
        ("kind: AgentRun", "apiVersion is None"),
        ("a: [", "is not a manifest"),
        ("apiVersion: stromboli.dev/v1alpha1\nkind: AgentRun\nspec: x", "spec is not an object"),
    ],
)
def test_a_file_that_is_no_manifest(content: str, said: str, tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "f").write_text(content)
    assert stromboli(["run", "-f", str(tmp_path / "f"), "--dry-run"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["-"]])
def test_the_prompt_is_piped(words: list[str], capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, "é\nlines\n".encode())
    assert dry(capsys, *words)["spec"] == {"prompt": "é\nlines\n"}
    piped(monkeypatch, "é\nlines\n".encode())
    assert dry(capsys, "python:3.12", *words)["spec"]["prompt"] == "é\nlines\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\xff", "is not UTF-8"), (b"x" * (launching.MAX_PROMPT + 1), "larger than 1 MiB")],
)
def test_a_prompt_that_cannot_be_one(content: bytes, said: str, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, content)
    assert stromboli(["run", "python:3.12", "-", "--dry-run"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["i", "x", "-p", "y"],
        ["i", "x", "--name", "a", "--generate-name", "b"],
        ["i", "x", "-d", "--rm"],
        ["i", "x", "-l", "novalue"],
        ["i", "x", "-e", "NOT_IN_THE_ENVIRONMENT"],
        ["i", "x", "-f", "/nowhere"],
    ],
)
def test_wrong_usage(arguments: list[str], api: FakeApiServer) -> None:
    assert stromboli(["run", *arguments]) == 2
    assert api.requests == []


def test_a_prompt_that_stands_where_the_image_does(api: FakeApiServer, capsys: Out) -> None:
    assert stromboli(["run", "Which Python is installed here?"]) == 2
    assert "the image, and has no spaces; -p gives a prompt without one" in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (DONE, 0),
        (ended("AgentFailed"), 1),
        (ended("ImageNotAllowed"), 2),
        (ended("Canceled"), 3),
        (ended("TimedOut"), 124),
    ],
)
def test_it_ends_as_the_run_does(status: Object, code: int, api: FakeApiServer, capfd: Out) -> None:
    later(api, RUNNING, status)
    assert stromboli(["run", "python:3.12", "hello", "-o", "json"]) == code
    printed = capfd.readouterr()
    [made] = api.objects.values()
    assert json.loads(printed.out) == made
    name = made["metadata"]["name"]
    first, *_, last = printed.err.splitlines()
    assert first == f"stromboli: AgentRun ns/{name}"
    assert last.startswith(f"stromboli: {status['conditions'][0]['reason']}")


def test_the_conversation_as_it_goes(api: FakeApiServer, capfd: Out) -> None:
    logs = FakeLogs(api)
    text = {"type": "assistant", "message": {"content": [{"type": "text", "text": "Hello"}]}}

    def story(event: str, obj: Object) -> None:
        logs.uid = obj["metadata"]["uid"]
        api.status("a", {**RUNNING, "attempts": [{"number": 1}]})
        logs.write(json.dumps(text).encode() + b"\n", end=True)
        api.status("a", {**DONE, "attempts": [{"number": 1, "reason": "Completed"}]})

    api.changed = story
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 0
    assert capfd.readouterr() == ("Hello\n", "stromboli: AgentRun ns/a\nCompleted: answered\n")


def test_without_the_right_to_read_logs_the_outcome_counts(api: FakeApiServer, capfd: Out) -> None:
    def story(event: str, obj: Object) -> None:
        FakeLogs(api).refused = [Refusal(403, "Forbidden", "no logs for you")]
        api.status("a", {**RUNNING, "attempts": [{"number": 1}]})
        once_watched(api, lambda: api.status("a", ended("AgentFailed")))

    api.changed = story
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 1
    said = capfd.readouterr().err
    assert "what the agent says cannot be shown: no logs for you" in said
    assert said.splitlines()[-1] == "stromboli: AgentFailed"


def test_only_the_answer(api: FakeApiServer, capfd: Out) -> None:
    later(api, DONE)
    assert stromboli(["run", "python:3.12", "hello", "-o", "text"]) == 0
    assert capfd.readouterr().out == "42\n"
    later(api, {**DONE, "result": {"text": "x", "structured": {"a": 1}}})
    assert stromboli(["run", "python:3.12", "hello", "-o", "text"]) == 0
    assert capfd.readouterr().out == '{"a": 1}\n'


def test_what_the_api_server_refuses(api: FakeApiServer, capfd: Out) -> None:
    def admit(obj: Object) -> None:
        raise Refusal(422, "Invalid", "spec.timeout: needs a unit: write 5s", "x")

    api.admit = admit
    assert stromboli(["run", "python:3.12", "hello"]) == 2
    assert "spec.timeout: needs a unit" in capfd.readouterr().err
    assert api.objects == {}


@pytest.mark.parametrize("status", [401, 500])
def test_what_is_no_refusal_of_the_run(status: int, api: FakeApiServer) -> None:
    def before(request: Request) -> None:
        raise Refusal(status, "Other", "not now")

    api.before = before
    assert stromboli(["run", "python:3.12", "hello"]) == 1


def test_an_answer_that_does_not_come(api: FakeApiServer, capfd: Out) -> None:
    def broken() -> Iterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError

    path = "/apis/stromboli.dev/v1alpha1/namespaces/ns/agentruns"
    api.routes[path] = lambda request: Reply(pieces=broken())
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 1
    said = capfd.readouterr().err
    assert "whether the AgentRun a was created is not known" in said
    assert "`stromboli get a -n ns`" in said
    assert len(api.named("POST")) == 1, "it is not sent twice"


def test_a_name_that_is_taken(api: FakeApiServer, capfd: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add("agentruns", run("mine"))
    assert stromboli(["run", "python:3.12", "hello", "--name", "mine", "-d"]) == 2
    assert "there is an AgentRun mine in the namespace ns already" in capfd.readouterr().err
    names = iter(["mine", "mine", "free"])
    monkeypatch.setattr(manifest, "generated", lambda prefix: next(names))
    assert stromboli(["run", "python:3.12", "hello", "-d"]) == 0
    assert capfd.readouterr().out == "free\n"


def test_one_that_is_deleted_when_it_has_ended(api: FakeApiServer) -> None:
    later(api, ended("AgentFailed"))
    assert stromboli(["run", "python:3.12", "hello", "--rm"]) == 1
    assert api.objects == {}


def test_one_that_is_gone_when_it_is_to_be_deleted(api: FakeApiServer) -> None:
    def before(request: Request) -> None:
        if request.method == "DELETE":
            api.remove("a")

    later(api, DONE)
    api.before = before
    assert stromboli(["run", "python:3.12", "hello", "--name", "a", "--rm"]) == 0


def test_one_that_somebody_else_deletes(api: FakeApiServer, capfd: Out) -> None:
    later(api)
    once_watched(api, lambda: api.remove("a"))
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 3
    assert "AgentRun ns/a was deleted" in capfd.readouterr().err


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_cancels_and_the_run_is_followed_on(api: FakeApiServer, capfd: Out) -> None:
    def changed(event: str, obj: Object) -> None:
        if event == "ADDED":
            once_watched(api, lambda: interrupt())
        elif obj["spec"].get("cancel"):
            api.status("a", ended("Canceled", "stopped"))

    api.changed = changed
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 3
    said = capfd.readouterr().err
    assert "canceling AgentRun ns/a; ^C again" in said
    assert said.splitlines()[-1] == "Canceled: stopped"


def test_a_second_interrupt_leaves_it_to_the_operator(api: FakeApiServer, capfd: Out) -> None:
    def changed(event: str, obj: Object) -> None:
        if event == "ADDED":
            once_watched(api, lambda: interrupt())
        else:
            threading.Timer(0.1, interrupt).start()

    api.changed = changed
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 130
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "stromboli: AgentRun ns/a is no longer followed, and it is being canceled",
        "  → `stromboli logs -f a -n ns` follows it again; `stromboli wait a -n ns` waits for its end",
    ]


def test_an_interrupt_while_it_is_created(api: FakeApiServer) -> None:
    def admit(obj: Object) -> None:
        interrupt()

    def changed(event: str, obj: Object) -> None:
        if event == "MODIFIED":
            api.status("a", ended("Canceled"))

    api.admit, api.changed = admit, changed
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 3


def test_an_interrupt_while_one_is_created_that_is_not_followed(api: FakeApiServer, capfd: Out) -> None:
    api.admit = lambda obj: interrupt()
    assert stromboli(["run", "python:3.12", "hello", "--name", "a", "-d"]) == 130
    assert capfd.readouterr().out == "a\n"
    assert list(api.objects) == [("agentruns", "ns", "a")]


def test_an_interrupt_without_the_api_server(api: FakeApiServer, capfd: Out) -> None:
    def away(request: Request) -> Reply:
        if request.method == "PATCH":
            threading.Timer(0.1, interrupt).start()
            raise Refusal(503, "ServiceUnavailable", "not now")
        return Reply(body=api.objects["agentruns", "ns", "a"])

    def changed(event: str, obj: Object) -> None:
        api.routes["/apis/stromboli.dev/v1alpha1/namespaces/ns/agentruns/a"] = away
        once_watched(api, lambda: interrupt())

    api.changed = changed
    assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 130
    said = capfd.readouterr().err
    assert "could not be canceled: not now" in said
    assert "and it goes on" in said
    assert "`stromboli cancel a -n ns` stops it" in said


def test_a_kill_leaves_the_run_alone(api: FakeApiServer, capfd: Out) -> None:
    """SIGTERM and SIGHUP, which __main__ turns into a KeyboardInterrupt."""
    from stromboli.__main__ import _interrupt

    before = signal.signal(signal.SIGHUP, _interrupt)
    try:
        api.changed = lambda event, obj: once_watched(api, lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert stromboli(["run", "python:3.12", "hello", "--name", "a"]) == 130
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "and it goes on" in capfd.readouterr().err
    assert api.named("PATCH") == []
