"""The gates before a start: their order, that an early one spares the later ones, and which of several decides."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli import errors
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.perform.candidate import Candidate
from stromboli.perform.gates import Gates, at_once
from stromboli.perform.lookups import Lookups
from stromboli.perform.run_images import RunImages
from stromboli.perform.sessions.gates import SessionGates
from stromboli.perform.stacks import gates as stack_gates
from stromboli.perform.stacks.gates import StackGates
from stromboli.perform.start_line import StartLine
from stromboli.plan.verdict import GO_ON, Refuse, Verdict, Wait
from stromboli.reasons import Reason

CANDIDATE = Candidate(cast(Any, None))
NO = Refuse(Reason.InvalidSpec, "no")
LATER = Wait(Reason.Pulling, "soon", 1.0)


class Mounts:
    """The CLI's mounts, as far as a gate doubts them."""

    doubted = 0

    def doubt(self) -> None:
        self.doubted += 1


class Said:
    """A gate that says something, or raises it, and remembers that it was asked."""

    def __init__(self, said: Verdict | Exception) -> None:
        self._said = said
        self.asked = 0

    async def __call__(self, _: Candidate) -> Verdict:
        self.asked += 1
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


@pytest.fixture
def mounts() -> Mounts:
    return Mounts()


@pytest.fixture
def gates(mounts: Mounts) -> Gates:
    none = cast(Any, None)
    return Gates(
        Lookups(none, none, none, none),
        SessionGates(none, "node", none),
        RunImages(none, cast(Any, mounts), PullSecrets(none, "system")),
        StackGates(none, none, PullSecrets(none, "system"), none, none),
        StartLine(none, "node"),
    )


def test_the_order_is_the_specification(gates: Gates) -> None:
    assert [getattr(gate, "__name__", "") for gate in gates.all] == [
        "spec",
        "policies",
        "node",
        "turn",
        "schema",
        "volumes",
        "stack",
        "gate",  # gateway, prompt, credentials, CLI and the images of services at once
        "image",
        "inside",
        "user",
        "start",
    ]


async def test_the_first_that_says_no_decides_and_spares_the_others_their_lookups(gates: Gates) -> None:
    asked = [Said(GO_ON), Said(NO), Said(LATER)]
    assert await gates.through(CANDIDATE, asked) == NO
    assert [gate.asked for gate in asked] == [1, 1, 0]
    assert await gates.through(CANDIDATE, asked[:1]) is GO_ON


@pytest.mark.parametrize(
    ("error", "said", "doubted"),
    [
        (errors.Refused(Reason.PolicyViolation, "never"), Refuse(Reason.PolicyViolation, "never"), 0),
        (errors.Pulling("half of it"), Wait(Reason.Pulling, "half of it", 2.0), 0),
        (errors.ClusterUnavailable("away"), Wait(Reason.WaitingForReference, "away", 5.0), 0),
        (
            errors.PodmanUnavailable("away"),
            Wait(Reason.PodmanUnavailable, "away; goes on when Podman answers again", 2.0),
            1,
        ),
    ],
)
async def test_what_a_gate_raises_is_a_value_too(
    gates: Gates, mounts: Mounts, error: Exception, said: Verdict, doubted: int
) -> None:
    assert await gates.through(CANDIDATE, [Said(error)]) == said
    assert mounts.doubted == doubted


async def test_a_conflict_and_a_defect_are_not(gates: Gates) -> None:
    for error in (errors.Conflict("changed"), KeyError("x")):
        with pytest.raises(type(error)):
            await gates.through(CANDIDATE, [Said(error)])


async def test_of_several_at_once_all_are_asked_and_the_first_in_order_decides() -> None:
    both = [Said(LATER), Said(NO)]
    assert await at_once(*both)(CANDIDATE) == LATER
    assert await at_once(*reversed(both))(CANDIDATE) == NO
    assert [gate.asked for gate in both] == [2, 2]
    with pytest.raises(errors.Pulling):
        await at_once(Said(errors.Pulling("x")), Said(NO))(CANDIDATE)
    assert await at_once(Said(GO_ON), Said(GO_ON))(CANDIDATE) is GO_ON


async def test_few_files_of_stacks_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    none, go_on, full = cast(Any, None), threading.Event(), threading.Event()
    under_way, most, lock = 0, 0, threading.Lock()

    async def project(*_: object) -> None:
        pass

    def prepared(*_: object) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == stack_gates.AT_ONCE:
                full.set()
        go_on.wait(5.0)
        with lock:
            under_way -= 1
        raise errors.ComposeProblem("file", "is enough for this test")

    monkeypatch.setattr("stromboli.observe.stacks.project", project)
    monkeypatch.setattr("stromboli.perform.stacks.reading.prepared", prepared)
    reads = StackGates(none, none, none, none, none)
    candidate = cast(
        Any,
        SimpleNamespace(
            request=SimpleNamespace(environment="e"), run=SimpleNamespace(session="s", namespace="n"), policy=None
        ),
    )
    asked = [asyncio.create_task(reads.stack(candidate)) for _ in range(stack_gates.AT_ONCE + 2)]
    assert await asyncio.to_thread(full.wait, 5.0)
    go_on.set()
    await asyncio.wait(asked)
    assert most == stack_gates.AT_ONCE
    assert all(isinstance(one.exception(), errors.Refused) for one in asked)
