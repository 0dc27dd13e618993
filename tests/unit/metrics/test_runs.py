"""What the changes of runs' statuses are counted as."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from stromboli.grammar import times
from stromboli.metrics.operator import OperatorMetrics
from stromboli.metrics.runs import RunMetrics
from stromboli.models.run import Run
from stromboli.reasons import Reason
from stromboli.store import Store
from tests.support.builders import NOON, at, at_version, of_uid, read

NODE = "node-1"
USED = {"inputTokens": 11, "outputTokens": 7, "cacheReadTokens": 5, "cacheCreationTokens": 3, "costUSD": 0.25}


class Bed:
    """A store whose changes are counted, and a clock."""

    def __init__(self) -> None:
        self.now = NOON
        self.version = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """The operator is another process now."""
        self.metrics = OperatorMetrics("test")
        self.store = Store(lambda _: None, observer=RunMetrics(self.metrics, NODE, lambda: self.now))

    def comes(self, reason: Reason, seconds: float = 0.0, uid: str = "u", **status: Any) -> Run:
        """So much later, a run comes to `reason`."""
        self.now += timedelta(seconds=seconds)
        self.version += 1
        found = read(of_uid(uid), at_version(self.version), at(reason))
        wire = {**found.status.wire, "startTime": times.to_micro(NOON), "node": NODE, **status}
        run = replace(found, status=type(found.status)(wire))
        self.store.put(run)
        return run

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"stromboli_{name}", labels)
        assert found is not None, f"there is no {name} {labels}"
        return found

    def stage(self, stage: str) -> tuple[float, float]:
        """How often a stage was observed, and how long it lasted in all."""
        name = "run_stage_duration_seconds"
        return self.value(f"{name}_count", stage=stage), self.value(f"{name}_sum", stage=stage)

    def ends(self) -> float:
        """All ends of runs."""
        return sum(
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "stromboli_runs_total"
        )


@pytest.fixture
def bed() -> Bed:
    return Bed()


def attempt(number: int = 1, reason: str = "", **more: Any) -> dict[str, Any]:
    """One that begins 10 s after noon."""
    found = {"number": number, "startedAt": second(10), "reason": reason, **more}
    return found if reason else {**found, "reason": None}


def second(seconds: float) -> str:
    moment: datetime = NOON + timedelta(seconds=seconds)
    return times.to_micro(moment)


def step(hook: str, begin: float, end: float | None) -> dict[str, Any]:
    return {"hook": hook, "startedAt": second(begin), "finishedAt": None if end is None else second(end)}


def test_an_end_is_counted_once_however_often_it_is_seen(bed: Bed) -> None:
    bed.comes(Reason.Starting)
    ended = bed.comes(Reason.Completed, completionTime=second(90))
    assert bed.value("runs_total", result="succeeded", reason="Completed") == 1
    bed.store.put(ended)
    bed.comes(Reason.Completed, completionTime=second(90), notification={"attempts": 1})
    assert bed.ends() == 1
    assert bed.stage("run") == (1, 90)


def test_what_had_ended_before_is_not_counted(bed: Bed) -> None:
    bed.comes(Reason.Starting)
    ended = bed.comes(Reason.AgentFailed, attempts=[attempt(reason="AgentFailed", usage=USED)])
    assert bed.value("runs_total", result="failed", reason="AgentFailed") == 1
    bed.begin_anew()
    bed.store.put(ended)
    assert bed.ends() == 0
    assert bed.value("tokens_total", kind="input") == 0


def test_an_end_is_counted_that_follows_a_restart(bed: Bed) -> None:
    bed.comes(Reason.Running, attempts=[attempt(1, "AgentFailed", usage=USED), attempt(2)])
    bed.begin_anew()
    bed.comes(Reason.Running, attempts=[attempt(1, "AgentFailed", usage=USED), attempt(2)])
    bed.comes(Reason.Completed, attempts=[attempt(1, "AgentFailed", usage=USED), attempt(2, "Completed", usage=USED)])
    assert bed.ends() == 1
    assert bed.value("attempts_total", reason="Completed") == 1
    assert bed.value("tokens_total", kind="output") == 7, "the first attempt was counted by the other process"


def test_other_nodes_runs_are_theirs_to_count(bed: Bed) -> None:
    bed.comes(Reason.Running, node="node-2", attempts=[attempt()])
    bed.comes(Reason.Completed, node="node-2", attempts=[attempt(reason="Completed", usage=USED)])
    assert bed.ends() == 0
    assert bed.value("attempts_running") == 0


def test_each_attempt_counts_with_what_it_used(bed: Bed) -> None:
    first, second_one = attempt(1, "AgentFailed", usage=USED), attempt(2, "Completed", usage=USED)
    bed.comes(Reason.Running, attempts=[attempt(1)])
    bed.comes(Reason.Retrying, attempts=[first])
    bed.comes(Reason.Running, attempts=[first, attempt(2)])
    bed.comes(Reason.Completed, attempts=[first, second_one])
    assert bed.value("attempts_total", reason="AgentFailed") == 1
    assert bed.value("attempts_total", reason="Completed") == 1
    kinds = ("input", "output", "cache_read", "cache_creation")
    assert [bed.value("tokens_total", kind=kind) for kind in kinds] == [22, 14, 10, 6]
    assert bed.value("cost_dollars_total") == 0.5


@pytest.mark.parametrize("said", [-1, 10**400, True, "many", None, float("nan"), {}])
def test_whatever_an_agent_says_it_used_is_no_error_and_takes_nothing_away(bed: Bed, said: object) -> None:
    used = {"inputTokens": said, "outputTokens": 7, "costUSD": said}
    bed.comes(Reason.Running, attempts=[attempt()])
    bed.comes(Reason.Completed, attempts=[attempt(reason="Completed", usage=used)])
    assert bed.value("tokens_total", kind="output") == 7
    assert 0 <= bed.value("tokens_total", kind="input") <= 1e12


def test_reasons_that_somebody_else_has_written_are_one_series(bed: Bed) -> None:
    bed.comes(Reason.Running, attempts=[attempt()])
    bed.comes(Reason.Retrying, attempts=[attempt(1, "Invented"), attempt(2, "Another")])
    assert bed.value("attempts_total", reason="Unknown") == 2


def test_how_long_it_was_in_each_stage(bed: Bed) -> None:
    bed.comes(Reason.Queued)
    bed.comes(Reason.Pulling, 4)
    bed.comes(Reason.Queued, 3)
    assert bed.value("queue_age_seconds") == 0
    bed.now += timedelta(seconds=1)
    assert bed.value("queue_age_seconds") == 1
    bed.comes(Reason.Starting, 1, attempts=[attempt()])
    steps = [step("onCreateCommand", 12, 20), step("postStart", 21, 22), step("agent", 23, 50)]
    ended = attempt(reason="Completed", finishedAt=second(51))
    bed.comes(Reason.Completed, attempts=[ended], steps=steps, completionTime=second(60))
    found = {name: bed.stage(name) for name in ("queue", "pull", "start", "hooks", "agent", "run")}
    assert found == {
        "queue": (1, 6),
        "pull": (1, 3),
        "start": (1, 2),
        "hooks": (1, 10),
        "agent": (1, 27),
        "run": (1, 60),
    }


def test_stages_that_a_run_did_not_have(bed: Bed) -> None:
    bed.comes(Reason.Starting, attempts=[])
    bed.comes(Reason.Starting, attempts=[attempt()])
    assert (bed.stage("queue"), bed.stage("pull")) == ((1, 0), (0, 0))
    cut_off = attempt(reason="ContainerLost", finishedAt=second(40))
    bed.comes(Reason.ContainerLost, attempts=[cut_off], steps=[step("agent", 15, None)])
    assert (bed.stage("hooks"), bed.stage("agent")) == ((0, 0), (1, 25))


def test_the_steps_of_an_earlier_attempt_are_not_those_of_the_last(bed: Bed) -> None:
    first = attempt(1, "HookFailed", startedAt=second(0))
    bed.comes(Reason.Starting, attempts=[first, attempt(2)])
    bed.comes(Reason.ContainerLost, attempts=[first, attempt(2, "ContainerLost")], steps=[step("postStart", 1, 2)])
    assert (bed.stage("start"), bed.stage("hooks")) == ((0, 0), (0, 0))


def test_what_waits_and_what_runs(bed: Bed) -> None:
    bed.comes(Reason.Queued, uid="a")
    bed.comes(Reason.Queued, uid="b")
    bed.comes(Reason.Running, uid="c", attempts=[attempt()])
    bed.comes(Reason.Retrying, uid="d", attempts=[attempt(reason="AgentFailed")])
    assert bed.value("runs_waiting", reason="Queued") == 2
    assert bed.value("runs_waiting", reason="Retrying") == 1
    assert bed.value("runs_waiting", reason="Running") == 0
    assert bed.value("attempts_running") == 1
    bed.store.delete("a")
    bed.comes(Reason.Completed, uid="c", attempts=[attempt(reason="Completed")])
    assert bed.value("runs_waiting", reason="Queued") == 1
    assert bed.value("attempts_running") == 0


def test_after_a_restart_the_queue_is_as_old_as_before(bed: Bed) -> None:
    bed.comes(Reason.Queued)
    bed.begin_anew()
    bed.comes(Reason.Queued, 60)
    assert bed.value("queue_age_seconds") == 60


def test_nothing_is_kept_of_what_has_ended_or_is_gone(bed: Bed) -> None:
    for number in range(9):
        bed.comes(Reason.Queued, uid=f"u{number}")
    for number in range(5):
        bed.comes(Reason.Canceled, uid=f"u{number}")
    for number in range(5, 9):
        bed.store.delete(f"u{number}")
    assert isinstance(bed.store._observer, RunMetrics)
    assert not bed.store._observer._known
