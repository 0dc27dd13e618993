"""Runs that are canceled, held back, tried again, or ended because nothing happens: all parts are real."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from lightkube.types import PatchType

from stromboli.kube.kinds import AgentRun
from stromboli.plan.attempt import CONTINUE
from tests.support.host import Host
from tests.support.operator import Standin
from tests.support.podman import IsolatedPodman
from tests.support.runs import ENDLESS, Object, Runs, completed, condition, finished, reason_is

OBEYS = "LOOP{sleep 0.3} until canceled"
FREE = {"dangerouslySkipPermissions": True}
# Beside a step that ignores SIGTERM, a grandchild in a session of its own that does, too, and holds the pipe open.
STUBBORN = "(setsid sh -c 'trap \"\" TERM; sleep 300' &); trap '' TERM; sleep 300; sleep 300"


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("endings")


def change(space: Runs, name: str, **spec: Any) -> None:
    space.client.patch(AgentRun, name, {"spec": spec}, namespace=space.namespace, patch_type=PatchType.MERGE)


def containers(host: Host, run: Object) -> list[str]:
    """The containers of a run that may have processes."""
    uid = run["metadata"]["uid"]
    return [one["Id"] for one in host.agents() if uid in json.dumps(one) and one["State"] in ("running", "paused")]


@pytest.fixture(scope="module")
def at_work(space: Runs, python_image: str) -> Mapping[str, Object]:
    """Runs that go on until somebody ends them, once they do."""
    base: dict[str, Any] = {"image": python_image, "claude": FREE, "timeout": "5m"}
    space.apply_all(
        {
            "obeys": {**base, "prompt": OBEYS},
            "ignores": {**base, "prompt": f"BASH{{{STUBBORN}}}", "terminationGracePeriod": "2s"},
            "hook": {**base, "prompt": "answer", "lifecycle": {"postStart": ["sleep 300"]}},
        }
    )
    ready = {"obeys": "Running", "ignores": "Running", "hook": "RunningHooks"}
    return space.all_until(ready, lambda run: condition(run).get("reason") == ready[run["metadata"]["name"]])


def test_a_canceled_agent_is_gone_at_once_with_what_it_used(
    space: Runs, at_work: Mapping[str, Object], host: Host, standin: Standin
) -> None:
    def turns() -> int:
        return sum(OBEYS in json.dumps(request["user_texts"]) for request in standin.requests())

    host.until(lambda: turns() >= 2, "it has answered, and used a tool")
    host.until(lambda: "lastOutputTime" in space.get("obeys")["status"], "its output was seen")
    time_before = time.monotonic()
    change(space, "obeys", cancel=True)
    ended = space.until("obeys", finished)
    assert time.monotonic() - time_before < 5
    assert condition(ended)["reason"] == "Canceled", condition(ended)["message"]
    assert containers(host, ended) == []
    [attempt] = ended["status"]["attempts"]
    assert (attempt["reason"], attempt["exitCode"]) == ("Canceled", 143)
    used = ended["status"]["usage"]
    assert used["turns"] >= 1
    assert used["inputTokens"] + used["outputTokens"] > 0


def test_an_agent_that_ignores_it_is_killed_with_everything_that_it_has_left(
    space: Runs, at_work: Mapping[str, Object], host: Host
) -> None:
    change(space, "ignores", cancel=True)
    ended = space.until("ignores", finished)
    assert condition(ended)["reason"] == "Canceled", condition(ended)["message"]
    assert containers(host, ended) == []


def test_a_hook_is_canceled_as_an_agent_is(space: Runs, at_work: Mapping[str, Object], standin: Standin) -> None:
    change(space, "hook", cancel=True)
    ended = space.until("hook", finished)
    assert condition(ended)["reason"] == "Canceled"
    assert [attempt["promptSent"] for attempt in ended["status"]["attempts"]] == ["No"]
    assert "before the prompt was sent" in condition(ended)["message"]


def test_cancel_cannot_be_taken_back_and_nothing_else_changes(space: Runs, at_work: Mapping[str, Object]) -> None:
    kubectl = space.kubectl
    for patch, said in (
        ({"cancel": False}, "cancel cannot be taken back"),
        ({"timeout": "9m"}, "timeout cannot be changed"),
        ({"backoffLimit": 1000}, "should be less than or equal to 50"),
    ):
        command = ("-n", space.namespace, "patch", "agentrun", "hook", "--type=merge", "-p")
        done = kubectl.attempt(*command, json.dumps({"spec": patch}))
        assert done.returncode != 0
        assert said in done.stderr


def test_a_suspended_run_waits_until_it_may_go_on(space: Runs, python_image: str, host: Host) -> None:
    space.apply("held", prompt="answer", image=python_image, suspend=True)
    held = space.until("held", reason_is("Suspended"))
    assert containers(host, held) == []
    change(space, "held", suspend=False)
    completed(space.until("held", finished))


def test_a_suspended_run_can_be_canceled(space: Runs, python_image: str) -> None:
    space.apply("never", prompt="answer", image=python_image, suspend=True)
    space.until("never", reason_is("Suspended"))
    change(space, "never", cancel=True)
    ended = space.until("never", finished)
    assert condition(ended)["reason"] == "Canceled"
    assert "attempts" not in ended["status"]


RETRIED = {"again": None, "in-a-session": "retried"}


@pytest.fixture(scope="module")
def ended(
    space: Runs, python_image: str, isolated_podman: IsolatedPodman, folder: Path, runtime_dir: Path, standin: Standin
) -> Mapping[str, Object]:
    """Runs that fail once, side by side: an attempt after another begins after some ten seconds."""
    host = Host(isolated_podman, folder / "home", runtime_dir)
    base: dict[str, Any] = {"image": python_image, "claude": FREE}
    space.apply_all(
        {
            "silent": {**base, "prompt": "SLEEP{120}", "progressTimeout": "15s"},
            "limited": {**base, "prompt": "STATUS{429} limited", "retryOn": ["AgentFailed"]},
            "only-once": {**base, "prompt": "STATUS{500} once", "backoffLimit": 3},
        }
        | {
            name: {
                **base,
                "prompt": f"BASH{{{ENDLESS}}} {name}-prompt",
                "retryOn": ["ContainerLost"],
                "lifecycle": {"onCreateCommand": ["echo once >> /installed"]},
                **({"session": {"name": session}} if session else {}),
            }
            for name, session in RETRIED.items()
        }
    )
    space.all_until(RETRIED, reason_is("Running"))
    for name in RETRIED:  # and the conversation has its prompt
        host.until(lambda name=name: f"{name}-prompt" in json.dumps(standin.requests()), "the prompt was sent")  # type: ignore[misc]
    for one in host.agents():
        if one["State"] == "running" and any(name in json.dumps(one["Labels"]) for name in ("again", "retried")):
            host.kill(one["Id"])
    return space.ends(["silent", "limited", "only-once", *RETRIED], within=120)


def test_a_cli_that_writes_nothing_is_ended(ended: Mapping[str, Object]) -> None:
    assert condition(ended["silent"])["reason"] == "NoProgress"
    assert "wrote nothing for 15s (spec.progressTimeout)" in condition(ended["silent"])["message"]
    assert "its last event was system/" in condition(ended["silent"])["message"]


@pytest.mark.parametrize("name", RETRIED)
def test_the_next_attempt_continues_the_conversation(ended: Mapping[str, Object], name: str, standin: Standin) -> None:
    run = ended[name]
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    assert [a["reason"] for a in run["status"]["attempts"]] == ["ContainerLost", "Completed"]
    assert [a.get("continued", False) for a in run["status"]["attempts"]] == [False, True]
    of_run = [one for one in standin.requests() if f"{name}-prompt" in json.dumps(one["user_texts"])]
    continued = [one for one in of_run if CONTINUE in one["user_texts"][-1]]
    assert continued, "the conversation goes on with the sentence"
    for one in continued:
        assert json.dumps(one["user_texts"]).count(f"{name}-prompt") == 1, "the prompt is there, and was not sent again"


def test_without_its_name_nothing_is_tried_again(ended: Mapping[str, Object]) -> None:
    for name, reason in (("only-once", "AgentFailed"), ("limited", "RateLimited")):
        assert condition(ended[name])["reason"] == reason, condition(ended[name])["message"]
        assert len(ended[name]["status"]["attempts"]) == 1
