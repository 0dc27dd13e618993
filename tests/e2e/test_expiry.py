"""Finished runs are deleted in time, with all that they have on the node, however often the operator is killed."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Any

from lightkube.types import PatchType

from stromboli.grammar import times
from stromboli.kube.kinds import AgentRun
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, completed, condition, finished, reason_is

LATE = 3.0  # seconds that a deletion may be late; a quarter of a second on an idle machine
PATIENCE = 60.0
KILLS = 30


def there(runs: Runs) -> set[str]:
    return {str(obj.metadata.name) for obj in runs.client.list(AgentRun, namespace=runs.namespace) if obj.metadata}


def await_deleted(runs: Runs, *names: str, within: float = PATIENCE) -> datetime:
    """Wait until none of these runs is there. Returns when."""
    limit = time.monotonic() + within
    while left := there(runs) & set(names):
        assert time.monotonic() < limit, f"after {within:.0f} s, {left} are still there"
        time.sleep(0.02)
    return datetime.now(UTC)


def change(runs: Runs, name: str, **spec: Any) -> None:
    runs.client.patch(AgentRun, name, {"spec": spec}, namespace=runs.namespace, patch_type=PatchType.MERGE)


def seconds_after(obj: dict[str, Any], moment: datetime) -> float:
    return (moment - times.from_text(obj["status"]["completionTime"])).total_seconds()


def test_a_run_is_deleted_when_its_time_is_over(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    obj = light_runs.run("run", prompt="ECHO{a}", image=python_image, ttlSecondsAfterFinished=2)
    taken = seconds_after(obj, await_deleted(light_runs, "run"))
    assert 2.0 <= taken < 2.0 + LATE
    host.await_gone(obj["metadata"]["uid"])


def test_a_change_of_a_finished_run_takes_effect_at_once(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    obj = light_runs.run("run", prompt="ECHO{a}", image=python_image, ttlSecondsAfterFinished=86400)
    change(light_runs, "run", ttlSecondsAfterFinished=0)
    await_deleted(light_runs, "run", within=LATE)
    host.await_gone(obj["metadata"]["uid"])


def test_a_namespace_keeps_as_many_as_its_policy_says(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    limits = [light_runs.policy("few", historyLimit=2), light_runs.policy("many", historyLimit=9)]
    light_runs.apply("works", prompt="SLEEP{300}", image=python_image)
    light_runs.until("works", reason_is("Running"))
    uids = [light_runs.run(f"run-{n}", prompt="ECHO{a}", image=python_image)["metadata"]["uid"] for n in range(3)]
    await_deleted(light_runs, "run-0", within=LATE)
    host.await_gone(uids[0])
    assert there(light_runs) == {"works", "run-1", "run-2"}
    assert condition(light_runs.get("works"))["reason"] == "Running"
    for name in limits:
        light_runs.kubectl("delete", "agentpolicy", name)


def test_the_policies_time_to_live_is_not_for_a_run_at_work(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str
) -> None:
    name = light_runs.policy("short", defaults={"ttl": "1s"})
    light_runs.apply("run", prompt="SLEEP{3} ECHO{a}", image=python_image)
    obj = light_runs.until("run", finished)
    completed(obj)
    await_deleted(light_runs, "run", within=1.0 + LATE)
    light_runs.kubectl("delete", "agentpolicy", name)


def test_the_session_of_a_deleted_run_goes_on(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str
) -> None:
    common: dict[str, Any] = {"image": python_image, "session": {"name": "story"}}
    light_runs.apply("first", prompt="ECHO{a}", ttlSecondsAfterFinished=0, **common)
    await_deleted(light_runs, "first")
    obj = light_runs.run("second", prompt="ECHO{b}", **common)
    assert condition(obj)["reason"] == "Completed", condition(obj)["message"]


def test_killed_at_random_moments_every_run_is_deleted_and_none_runs_twice(
    steady_operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    """Some of the runs are deleted by their own time to live, the others by the policy's limit."""
    limit = light_runs.policy("none", historyLimit=0)
    chance = random.Random(14)
    uids: dict[str, str] = {}
    for kill in range(KILLS):
        if kill % 3 == 0:
            mark = f"expires-{kill}"
            own: dict[str, Any] = {"ttlSecondsAfterFinished": 0} if kill % 2 else {}
            light_runs.apply(mark, prompt=f"ECHO{{{mark}}}", image=python_image, **own)
            uids[mark] = light_runs.get(mark)["metadata"]["uid"]
        time.sleep(chance.uniform(0.05, 0.6))  # the random delay is the test
        steady_operator.kill()
        steady_operator.start(wait=kill % 3 == 0)
    await_deleted(light_runs, *uids)
    for uid in uids.values():
        host.await_gone(uid)
    texts = [str(request["last_user_text"]) for request in standin.requests()]
    assert {mark: sum(f"ECHO{{{mark}}}" in text for text in texts) for mark in uids} == dict.fromkeys(uids, 1)
    light_runs.kubectl("delete", "agentpolicy", limit)
