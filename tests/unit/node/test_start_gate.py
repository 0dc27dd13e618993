"""The start gate: how many are admitted at once, which is next, and that no place is lost."""

from __future__ import annotations

import random

import pytest

from stromboli.node.start_gate import StartGate
from stromboli.plan.line import Waiter


def waiter(number: int, namespace: str = "s") -> Waiter:
    return Waiter("2026-01-01T12:00:00Z", f"{number:06}", f"{namespace}-{number}", namespace)


class Woken(list[str]):
    """The runs that were admitted after waiting."""

    def __call__(self, uid: str) -> None:
        self.append(uid)


@pytest.fixture
def woken() -> Woken:
    return Woken()


def test_as_many_as_may_start_are_let_in_and_the_others_are_told_their_places(woken: Woken) -> None:
    gate = StartGate(2, None, woken)
    assert [gate.enter(waiter(n)) for n in range(4)] == [None, None, 1, 2]
    assert [gate.enter(waiter(n)) for n in range(4)] == [None, None, 1, 2], "asked again, it is the same"
    gate.started("s-0")
    assert woken == ["s-2"]
    assert [gate.enter(waiter(2)), gate.enter(waiter(3))] == [None, 1]


def test_namespaces_take_turns(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    for n in range(4):
        gate.enter(waiter(n, "many"))
    gate.enter(waiter(9, "other"))
    gate.started("many-0")
    gate.started("other-9")
    assert woken == ["other-9", "many-1"]


def test_no_more_at_work_than_may_be(woken: Woken) -> None:
    gate = StartGate(8, 2, woken)
    gate.at_work("old")
    assert [gate.enter(waiter(n)) for n in range(3)] == [None, 1, 2]
    gate.started("s-0")
    assert woken == [], "it goes on being at work"
    gate.ended("old")
    assert woken == ["s-1"]
    gate.ended("s-0")
    assert woken == ["s-1", "s-2"]


def test_who_is_let_in_and_does_not_start_makes_room(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    with gate.reconciling("s-0"):
        gate.enter(waiter(0))  # and then its image turns out to be gone, for example
    assert gate.enter(waiter(1)) is None
    with gate.reconciling("s-2"):
        assert gate.enter(waiter(2)) == 1
    gate.started("s-1")
    assert woken == ["s-2"]
    with gate.reconciling("s-2"):
        pass  # by now it waits for something else
    assert gate.enter(waiter(3)) is None


def test_who_is_let_in_during_a_turn_that_told_it_to_wait_starts_in_the_next(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    gate.enter(waiter(0))
    gate.enter(waiter(1))
    with gate.reconciling("s-1"):
        assert gate.enter(waiter(1)) == 1
        gate.started("s-0")
    assert woken == ["s-1"]
    assert gate.enter(waiter(2)) == 1
    with gate.reconciling("s-1"):
        assert gate.enter(waiter(1)) is None
        gate.started("s-1")
    assert woken == ["s-1", "s-2"]


def test_who_leaves_the_line_is_not_let_in(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    for n in range(3):
        gate.enter(waiter(n))
    gate.ended("s-1")
    gate.ended("s-0")
    assert woken == ["s-2"]


def test_what_has_begun_before_does_not_wait_and_counts(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    gate.stand(waiter(5))
    gate.enter_again("s-1")
    assert gate.enter(waiter(0)) == 1, "it is older than the one that stands in line"
    gate.stand(waiter(1))
    gate.started("s-1")
    gate.stand(waiter(1))
    assert woken == ["s-0"]
    gate.started("s-0")
    gate.started("s-5")
    assert woken == ["s-0", "s-5"], "and s-1 was not put back"


def test_whatever_happens_the_bounds_hold_and_everybody_starts() -> None:
    """Many random life cycles: runs arrive, start, fail to start, end and are deleted."""
    for seed in range(200):
        luck, left = random.Random(seed), [waiter(n, f"ns-{n % 3}") for n in range(30)]
        starting: set[str] = set()
        working: set[str] = set()
        gate = StartGate(3, 5, lambda uid: None)
        for _ in range(2000):
            if not left and not working:
                break
            if working and luck.random() < 0.4:
                gate.ended(working.pop())
                continue
            if not left:
                continue
            each = luck.choice(left)
            with gate.reconciling(each.uid):
                if gate.enter(each) is None:
                    starting.add(each.uid)
                    assert len(starting) <= 3
                    assert len(starting | working) <= 5
                    if luck.random() < 0.8:
                        gate.started(each.uid)
                        working.add(each.uid)
                        left.remove(each)
                    starting.discard(each.uid)
        assert not left, f"seed {seed}"


def test_a_start_that_is_repeated_leaves_the_queue(woken: Woken) -> None:
    gate = StartGate(1, None, woken)
    assert [gate.enter(waiter(n)) for n in range(2)] == [None, 1]
    gate.enter_again("s-1")
    gate.started("s-0")
    gate.started("s-1")
    assert woken == [], "it is not admitted once more"


def test_all_that_there_is_room_for_are_let_in_at_once(woken: Woken) -> None:
    """After a restart, they stand in the queue before anything has left."""
    gate = StartGate(2, None, woken)
    gate.enter_again("s-0")
    for n in (1, 2, 3):
        gate.stand(waiter(n))
    gate.started("s-0")
    assert woken == ["s-1", "s-2"]
