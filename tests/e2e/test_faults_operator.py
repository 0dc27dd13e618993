"""The operator is killed repeatedly, at any moment: every prompt is sent once, every run finishes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished, reason_is

KILLS = 18
NewOperator = Callable[[], OperatorProcess]


def prompts(standin: Standin, marks: list[str]) -> dict[str, int]:
    """How often the stand-in has received each of these prompts."""
    texts = [str(request["last_user_text"]) for request in standin.requests()]
    return {mark: sum(mark in text for text in texts) for mark in marks}


def sent_once(standin: Standin, *marks: str) -> None:
    told = [{k: v for k, v in r.items() if k != "user_texts"} for r in standin.requests()]
    assert prompts(standin, list(marks)) == dict.fromkeys(marks, 1), [
        r for r in told if any(mark in str(r["last_user_text"]) for mark in marks)
    ]


def completed(obj: Object, text: str) -> None:
    assert condition(obj)["reason"] == "Completed", condition(obj)["message"]
    assert obj["status"]["result"]["text"] == text


def test_killed_at_random_moments_every_prompt_is_sent_once(
    new_operator: NewOperator, light_runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    """New runs keep arriving while the operator is killed: during its start, and during runs' starts and ends."""
    chance = random.Random(7)
    marks: list[str] = []
    for kill in range(KILLS):
        operator = new_operator()
        operator.start(wait=kill % 2 == 0)
        if kill % 3 == 0:
            new = [f"killed-{kill}-{n}" for n in range(2)]
            light_runs.apply_all({m: {"prompt": f"SLEEP{{0.5}} ECHO{{{m}}}", "image": python_image} for m in new})
            marks += new
        time.sleep(chance.uniform(0.1, 0.8))  # the random delay is the test
        operator.kill()
    with new_operator():
        ends = light_runs.ends(marks)
        for mark in marks:
            completed(ends[mark], mark)
        sent_once(standin, *marks)
        uids = [obj["metadata"]["uid"] for obj in ends.values()]
        host.until(lambda: not {f"stromboli-{uid}" for uid in uids} & set(host.volumes()), "their volumes are gone")
        assert not host.agents()


@pytest.mark.parametrize("reason", ["Starting", "Running"])
def test_killed_when_the_status_says_so(
    new_operator: NewOperator, runs: Runs, standin: Standin, python_image: str, reason: str
) -> None:
    mark = f"killed-when-{reason.lower()}"
    operator = new_operator()
    operator.start()
    runs.apply("run", prompt=f"SLEEP{{0.5}} ECHO{{{mark}}}", image=python_image)
    runs.until("run", reason_is(reason))
    operator.kill()
    with new_operator():
        completed(runs.until("run", finished), mark)
    sent_once(standin, mark)


def test_down_while_the_run_ends(
    new_operator: NewOperator, runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    operator = new_operator()
    operator.start()
    runs.apply("run", prompt="SLEEP{0.5} ECHO{operator-was-down}", image=python_image)
    uid = runs.until("run", reason_is("Running"))["metadata"]["uid"]
    operator.stop()
    assert host.await_end(uid) == 0
    assert condition(runs.get("run"))["reason"] == "Running"
    with new_operator():
        done = runs.until("run", finished)
    completed(done, "operator-was-down")
    attempt = done["status"]["attempts"][0]
    assert attempt["exitCode"] == 0
    assert attempt["finishedAt"] < done["status"]["completionTime"]
    sent_once(standin, "operator-was-down")


def test_down_from_the_write_ahead_to_after_the_end(
    new_operator: NewOperator, light_runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    """Killed as soon as the container exists; its result is read later."""
    operator = new_operator()
    operator.start()
    light_runs.apply("run", prompt="SLEEP{0.3} ECHO{down-for-the-whole}", image=python_image)
    host.until(lambda: bool(host.agents()), "a container is there")
    operator.kill()
    states = {"created", "configured", "initialized", "exited"}
    host.until(lambda: all(c["State"] in states for c in host.agents()), "nothing runs any more")
    with new_operator():
        completed(light_runs.until("run", finished), "down-for-the-whole")
    sent_once(standin, "down-for-the-whole")


def test_applied_while_the_operator_is_down(
    new_operator: NewOperator, light_runs: Runs, standin: Standin, python_image: str
) -> None:
    light_runs.apply("run", prompt="ECHO{applied-before}", image=python_image)
    with new_operator():
        completed(light_runs.until("run", finished), "applied-before")
    sent_once(standin, "applied-before")
