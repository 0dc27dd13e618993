"""Who is let in, and for how long that is remembered. The reviews themselves: tests/contract/test_reviews.py."""

from __future__ import annotations

import pytest

from stromboli.api import authorise
from stromboli.api.authorise import REMEMBERED, Gate
from stromboli.api.errors import Declined
from stromboli.errors import ClusterUnavailable
from stromboli.kube.reviews import Access, Person
from tests.support.fake_reviews import MINE, FakeReviews


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reviews() -> FakeReviews:
    return FakeReviews()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(reviews: FakeReviews, clock: Clock) -> Gate:
    return Gate(reviews, clock)


async def status(gate: Gate, authorization: str | None, access: Access = MINE) -> int:
    try:
        await gate.admit(authorization, access)
    except Declined as declined:
        return declined.status
    return 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "alice", "Bearer\talice", "Bearer ä", "bearer-alice x"]
)
async def test_without_a_token_nobody_is_asked(gate: Gate, reviews: FakeReviews, header: str | None) -> None:
    assert await status(gate, header) == 401
    assert reviews.asked == []


@pytest.mark.parametrize("header", ["Bearer alice", "bearer alice", "Bearer  alice "])
async def test_who_may_comes_in(gate: Gate, header: str) -> None:
    person = await gate.admit(header, MINE)
    assert person == Person("alice", "u-alice", ("staff",), {})


async def test_whom_the_cluster_does_not_know(gate: Gate) -> None:
    assert await status(gate, "Bearer mallory") == 401


async def test_who_may_not_is_told_what(gate: Gate) -> None:
    with pytest.raises(Declined, match="bob may not get agentsessions/messages") as declined:
        await gate.admit("Bearer bob", MINE)
    assert declined.value.status == 403


async def test_a_yes_is_remembered_for_a_while(gate: Gate, reviews: FakeReviews, clock: Clock) -> None:
    for _ in range(3):
        assert await status(gate, "Bearer alice") == 200
    assert reviews.asked == ["person alice", "access alice mine"]
    reviews.permits.clear()
    clock.now += REMEMBERED - 0.1
    assert await status(gate, "Bearer alice") == 200
    clock.now += 0.1
    assert await status(gate, "Bearer alice") == 403
    assert reviews.asked[2:] == ["person alice", "access alice mine"]


async def test_a_yes_holds_from_when_it_was_asked_for(
    gate: Gate, reviews: FakeReviews, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = reviews.person

    async def slow(token: str) -> Person | None:
        clock.now += REMEMBERED - 1
        return await known(token)

    monkeypatch.setattr(reviews, "person", slow)
    assert await status(gate, "Bearer alice") == 200
    clock.now += 1
    assert await status(gate, "Bearer alice") == 200
    assert reviews.asked.count("person alice") == 2


async def test_a_yes_is_for_that_object_and_that_token(gate: Gate, reviews: FakeReviews) -> None:
    assert await status(gate, "Bearer alice") == 200
    other = Access("get", "stromboli.dev", "agentsessions", "messages", "ns", "hers")
    assert await status(gate, "Bearer alice", other) == 403
    assert await status(gate, "Bearer bob") == 403
    assert await status(gate, "Bearer alice2") == 401


async def test_a_no_is_not_remembered(gate: Gate, reviews: FakeReviews) -> None:
    assert await status(gate, "Bearer bob") == 403
    reviews.permits.add(("bob", "mine"))
    assert await status(gate, "Bearer bob") == 200
    assert await status(gate, "Bearer new") == 401
    reviews.people.add("new")
    assert await status(gate, "Bearer new") == 403


async def test_a_failure_lets_nobody_in_and_is_not_remembered(gate: Gate, reviews: FakeReviews) -> None:
    reviews.away = True
    with pytest.raises(ClusterUnavailable):
        await gate.admit("Bearer alice", MINE)
    reviews.away = False
    assert await status(gate, "Bearer alice") == 200


async def test_what_is_remembered_has_a_bound(
    reviews: FakeReviews, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorise, "MOST_REMEMBERED", 5)
    gate = Gate(reviews, clock)
    for n in range(23):
        reviews.people.add(f"p{n}")
        reviews.permits.add((f"p{n}", "mine"))
        assert await status(gate, f"Bearer p{n}") == 200
    assert len(gate._people._known) <= 5
    assert len(gate._permits._known) <= 5
    reviews.asked.clear()
    assert await status(gate, "Bearer p22") == 200
    assert reviews.asked == [], "who came last is still known"


async def test_no_token_is_kept(gate: Gate) -> None:
    await gate.admit("Bearer alice", MINE)
    (key,) = gate._people._known
    assert isinstance(key, bytes)
    assert b"alice" not in key
    assert len(key) == 32
