"""Who is let in, and for how long that is remembered. The reviews themselves: tests/contract/test_reviews.py."""

from __future__ import annotations

import pytest

from stromboli.api import authorise
from stromboli.api.authorise import REMEMBERED, Authorizer
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
def authorizer(reviews: FakeReviews, clock: Clock) -> Authorizer:
    return Authorizer(reviews, clock)


async def status(authorizer: Authorizer, authorization: str | None, access: Access = MINE) -> int:
    try:
        await authorizer.admit(authorization, access)
    except Declined as declined:
        return declined.status
    return 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "alice", "Bearer\talice", "Bearer ä", "bearer-alice x"]
)
async def test_without_a_token_nobody_is_asked(
    authorizer: Authorizer, reviews: FakeReviews, header: str | None
) -> None:
    assert await status(authorizer, header) == 401
    assert reviews.asked == []


@pytest.mark.parametrize("header", ["Bearer alice", "bearer alice", "Bearer  alice "])
async def test_who_may_comes_in(authorizer: Authorizer, header: str) -> None:
    person = await authorizer.admit(header, MINE)
    assert person == Person("alice", "u-alice", ("staff",), {})


async def test_whom_the_cluster_does_not_know(authorizer: Authorizer) -> None:
    assert await status(authorizer, "Bearer mallory") == 401


async def test_who_may_not_is_told_what(authorizer: Authorizer) -> None:
    with pytest.raises(Declined, match="bob may not get agentsessions/messages") as declined:
        await authorizer.admit("Bearer bob", MINE)
    assert declined.value.status == 403


async def test_a_yes_is_remembered_for_a_while(authorizer: Authorizer, reviews: FakeReviews, clock: Clock) -> None:
    for _ in range(3):
        assert await status(authorizer, "Bearer alice") == 200
    assert reviews.asked == ["person alice", "access alice mine"]
    reviews.permits.clear()
    clock.now += REMEMBERED - 0.1
    assert await status(authorizer, "Bearer alice") == 200
    clock.now += 0.1
    assert await status(authorizer, "Bearer alice") == 403
    assert reviews.asked[2:] == ["person alice", "access alice mine"]


async def test_a_yes_holds_from_when_it_was_asked_for(
    authorizer: Authorizer, reviews: FakeReviews, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = reviews.person

    async def slow(token: str) -> Person | None:
        clock.now += REMEMBERED - 1
        return await known(token)

    monkeypatch.setattr(reviews, "person", slow)
    assert await status(authorizer, "Bearer alice") == 200
    clock.now += 1
    assert await status(authorizer, "Bearer alice") == 200
    assert reviews.asked.count("person alice") == 2


async def test_a_yes_is_for_that_object_and_that_token(authorizer: Authorizer, reviews: FakeReviews) -> None:
    assert await status(authorizer, "Bearer alice") == 200
    other = Access("get", "stromboli.dev", "agentsessions", "messages", "ns", "hers")
    assert await status(authorizer, "Bearer alice", other) == 403
    assert await status(authorizer, "Bearer bob") == 403
    assert await status(authorizer, "Bearer alice2") == 401


async def test_a_no_is_not_remembered(authorizer: Authorizer, reviews: FakeReviews) -> None:
    assert await status(authorizer, "Bearer bob") == 403
    reviews.permits.add(("bob", "mine"))
    assert await status(authorizer, "Bearer bob") == 200
    assert await status(authorizer, "Bearer new") == 401
    reviews.people.add("new")
    assert await status(authorizer, "Bearer new") == 403


async def test_a_failure_lets_nobody_in_and_is_not_remembered(authorizer: Authorizer, reviews: FakeReviews) -> None:
    reviews.away = True
    with pytest.raises(ClusterUnavailable):
        await authorizer.admit("Bearer alice", MINE)
    reviews.away = False
    assert await status(authorizer, "Bearer alice") == 200


async def test_what_is_remembered_has_a_bound(
    reviews: FakeReviews, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorise, "MOST_REMEMBERED", 5)
    authorizer = Authorizer(reviews, clock)
    for n in range(23):
        reviews.people.add(f"p{n}")
        reviews.permits.add((f"p{n}", "mine"))
        assert await status(authorizer, f"Bearer p{n}") == 200
    assert len(authorizer._people._known) <= 5
    assert len(authorizer._permits._known) <= 5
    reviews.asked.clear()
    assert await status(authorizer, "Bearer p22") == 200
    assert reviews.asked == [], "who came last is still known"


async def test_no_token_is_kept(authorizer: Authorizer) -> None:
    await authorizer.admit("Bearer alice", MINE)
    (key,) = authorizer._people._known
    assert isinstance(key, bytes)
    assert b"alice" not in key
    assert len(key) == 32
