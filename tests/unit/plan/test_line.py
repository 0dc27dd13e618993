"""Who starts next: by creation within a namespace, and namespaces take turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan.line import Line, Waiter

SECONDS = st.integers(0, 5)
WAITERS = st.lists(
    st.builds(
        lambda created, since, uid, space: Waiter(f"2026-01-01T12:00:{created:02}Z", f"{since:02}", uid, space),
        SECONDS,
        SECONDS,
        st.uuids().map(str),
        st.sampled_from(["a", "b", "c", "d"]),
    ),
    min_size=1,
    max_size=20,
)


def waiter(uid: str, namespace: str, created: int = 0, since: int = 0) -> Waiter:
    return Waiter(f"2026-01-01T12:00:{created:02}Z", f"2026-01-01T12:00:00.{since:06}Z", uid, namespace)


def line_of(*waiters: Waiter) -> Line:
    line = Line()
    for each in waiters:
        line.add(each)
    return line


def order(line: Line) -> list[str]:
    """Everybody, one start after the other."""
    found = []
    while (first := line.first()) is not None:
        line.remove(first.uid)
        line.start(first.namespace)
        found.append(first.uid)
    return found


def test_by_creation_and_within_a_second_by_the_first_status() -> None:
    assert order(line_of(waiter("c", "s", 1), waiter("b", "s", 0, 2), waiter("a", "s", 0, 1))) == ["a", "b", "c"]


def test_many_of_one_namespace_do_not_hold_up_the_one_of_another() -> None:
    many = [waiter(f"many-{n}", "many", n) for n in range(5)]
    assert order(line_of(*many, waiter("one", "other", 50)))[:3] == ["many-0", "one", "many-1"]


def test_whoever_started_longest_ago_is_next() -> None:
    line = line_of(waiter("a1", "a", 0), waiter("b1", "b", 1))
    line.start("a")
    assert order(line) == ["b1", "a1"]


def test_who_stands_in_line_keeps_the_place() -> None:
    line = line_of(waiter("a", "s", 0, 1), waiter("b", "s", 0, 2))
    line.add(waiter("a", "s", 9))
    assert [line.place("a"), line.place("b"), len(line)] == [1, 2, 2]
    line.remove("a")
    line.remove("a")
    assert "a" not in line
    assert line.place("b") == 1


def test_of_namespaces_without_runs_nothing_is_kept() -> None:
    line = line_of()
    line.start("gone")
    line.start("here")
    line.forget_all_but({"here"})
    line.add(waiter("h", "here", 0))
    line.add(waiter("g", "gone", 1))
    assert order(line) == ["g", "h"]


@given(WAITERS, st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6))
def test_each_is_told_the_place_at_which_it_starts(waiters: list[Waiter], before: list[str]) -> None:
    line = line_of(*waiters)
    for namespace in before:
        line.start(namespace)
    places = {each.uid: line.place(each.uid) for each in waiters}
    started = order(line)
    assert sorted(places, key=lambda uid: places[uid]) == started
    assert sorted(places.values()) == list(range(1, len(started) + 1))
    assert len(line) == 0
