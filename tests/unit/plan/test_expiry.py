"""When finished runs are deleted: their own time to live, the policies' default, the history that a namespace keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.plan.expiry import FOREVER, OTHERS, Expired, Finished, Keeping, expired, keeping, says_nothing
from stromboli.plan.policy import Base, Rules

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
BASE = Base(cli_image="localhost/cli")


def finished(uid: str, ended: float, ttl: int | None = None, *, ours: bool = True) -> Finished:
    return Finished(uid, f"run-{uid}", "1", START + timedelta(seconds=ended), ended, ttl, ours)


def uids(some: Sequence[Finished]) -> list[str]:
    return [one.uid for one in some]


def test_a_run_without_a_time_to_live_stays() -> None:
    assert expired([finished("a", 0.0)], FOREVER, 1e9) == Expired((), (), None)


@pytest.mark.parametrize("ttl", [0, 1, 60, 2_147_483_647])
def test_its_own_time_to_live(ttl: int) -> None:
    run = finished("a", 100.0, ttl)
    assert expired([run], FOREVER, 99.9 + ttl) == Expired((), (), 100.0 + ttl)
    assert expired([run], FOREVER, 100.0 + ttl) == Expired((run,), (), None)


def test_the_policies_time_to_live_is_for_runs_that_state_none() -> None:
    own, default = finished("own", 0.0, 60), finished("default", 0.0)
    said = expired([own, default], Keeping(ttl=10.0), 10.0)
    assert said == Expired((), (default,), 60.0)
    assert expired([own], Keeping(ttl=10.0), 59.0).by_policy == (), "a longer one of its own too"


def test_those_beyond_the_history_go_oldest_end_first() -> None:
    runs = [finished(uid, ended) for uid, ended in (("c", 3.0), ("a", 1.0), ("d", 4.0), ("b", 2.0))]
    assert uids(expired(runs, Keeping(history=2), 4.0).by_policy) == ["a", "b"]
    assert expired(runs, Keeping(history=4), 4.0) == Expired((), (), None)


def test_a_namespace_may_keep_none() -> None:
    assert uids(expired([finished("a", 1.0)], Keeping(history=0), 1.0).by_policy) == ["a"]


def test_the_history_counts_runs_with_a_time_to_live_too() -> None:
    runs = [finished("a", 1.0, 3600), finished("b", 2.0, 3600)]
    assert uids(expired(runs, Keeping(history=1), 2.0).by_policy) == ["a"]


def test_the_operator_of_another_node_waits_for_the_one_of_the_runs() -> None:
    run = finished("a", 100.0, 10, ours=False)
    assert expired([run], FOREVER, 110.0) == Expired((), (), 110.0 + OTHERS)
    assert expired([run], FOREVER, 110.0 + OTHERS).by_spec == (run,)


def test_of_the_history_too_from_when_a_newer_run_ended() -> None:
    theirs, newer = finished("a", 1.0, ours=False), finished("b", 500.0)
    assert expired([theirs, newer], Keeping(history=1), 500.0) == Expired((), (), 500.0 + OTHERS)
    assert expired([theirs, newer], Keeping(history=1), 500.0 + OTHERS).by_policy == (theirs,)


def test_a_run_is_held_for_its_notification() -> None:
    run = replace(finished("a", 100.0, 10), held=500.0)
    assert expired([run], FOREVER, 499.0) == Expired((), (), 500.0)
    assert expired([run], FOREVER, 500.0) == Expired((run,), (), None)
    later = replace(finished("a", 100.0, 1000), held=500.0)
    assert expired([later], FOREVER, 500.0) == Expired((), (), 1100.0), "its own time is later"


def test_a_run_beyond_the_history_is_held_too_and_no_other_goes_in_its_place() -> None:
    runs = [replace(finished("a", 1.0), held=500.0), finished("b", 2.0)]
    assert expired(runs, Keeping(history=1), 2.0) == Expired((), (), 500.0)
    assert uids(expired(runs, Keeping(history=1), 500.0).by_policy) == ["a"]


# --- any runs at any time ---

RUNS = st.lists(
    st.tuples(
        st.integers(0, 30).map(float), st.none() | st.integers(0, 20) | st.just(1000), st.booleans() | st.just(True)
    ),
    max_size=12,
).map(lambda found: [finished(f"{n:02}", *one[:2], ours=one[2]) for n, one in enumerate(found)])
KEEPING = st.builds(Keeping, ttl=st.none() | st.integers(1, 40).map(float), history=st.none() | st.integers(0, 8))
NOW = st.integers(0, 200).map(float)


@given(RUNS, KEEPING, NOW)
def test_nothing_goes_before_its_time_and_nothing_stays_after_it(
    runs: list[Finished], keeping: Keeping, now: float
) -> None:
    said = expired(runs, keeping, now)
    gone = {*said.by_spec, *said.by_policy}
    assert len(gone) == len(said.by_spec) + len(said.by_policy)
    for one in runs:
        ttl = keeping.ttl if one.ttl is None else one.ttl
        late = 0.0 if one.ours else OTHERS
        over = ttl is not None and one.ended + ttl + late <= now
        newer = [other for other in runs if (other.ended, other.uid) > (one.ended, one.uid)]
        many = keeping.history is not None and len(newer) >= keeping.history
        if over or (many and one.ours and all(other.ended <= now for other in runs)):
            assert one in gone
        assert one not in gone or over or many
        assert one not in said.by_spec or (one.ttl is not None and over)


@given(RUNS, KEEPING, NOW)
def test_the_next_look_is_exact(runs: list[Finished], keeping: Keeping, now: float) -> None:
    said = expired(runs, keeping, now)
    left = [one for one in runs if one not in {*said.by_spec, *said.by_policy}]
    after = expired(left, keeping, now)
    assert after.by_spec == after.by_policy == (), "what is deleted makes nothing else due"
    if after.again is None:
        assert expired(left, keeping, 1e9) == Expired((), (), None)
    else:
        assert after.again > now
        before = expired(left, keeping, after.again - 0.001)
        assert before.by_spec == before.by_policy == ()
        then = expired(left, keeping, after.again)
        assert {*then.by_spec, *then.by_policy}


@given(RUNS, KEEPING, NOW, st.randoms(use_true_random=False))
def test_the_order_in_which_they_are_known_does_not_matter(
    runs: list[Finished], keeping: Keeping, now: float, random: Any
) -> None:
    mixed = list(runs)
    random.shuffle(mixed)
    assert expired(mixed, keeping, now) == expired(runs, keeping, now)


@given(RUNS, st.integers(0, 8), st.data())
def test_two_operators_together_delete_no_more_than_one(runs: list[Finished], history: int, data: Any) -> None:
    """Each of them deletes those of its node; and one that knows fewer runs deletes none that the other would keep."""
    at, limit = 1e6, Keeping(history=history)
    alone = set(uids(expired([replace(one, ours=True) for one in runs], limit, at).by_policy))
    for known in (runs, data.draw(st.lists(st.sampled_from(runs), unique=True)) if runs else []):
        for ours in (True, False):
            seen = [replace(one, ours=one.ours == ours) for one in known]
            assert set(uids(expired(seen, limit, at).by_policy)) <= alone


# --- what policies say ---


def rules(name: str, **spec: Any) -> Rules:
    return Rules(name, AgentPolicySpec.model_validate(spec))


TEAM = {"namespaceSelector": {"matchLabels": {"team": "a"}}}


def test_policies_that_match_are_combined() -> None:
    found = [rules("one", historyLimit=5, **TEAM), rules("two", historyLimit=3), rules("three", defaults={"ttl": "1h"})]
    assert keeping(found, {"team": "a"}, BASE) == Keeping(3600.0, 3)
    assert keeping(found[:1], {"team": "b"}, BASE) == FOREVER


@pytest.mark.parametrize(
    "other",
    [
        {"defaults": {"ttl": "2h"}},
        {"defaults": {"timeout": "2h"}},
        {"defaults": {"ttl": "7d"}},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In"}]}},
    ],
    ids=["another time to live", "another value of another field", "no duration", "no selector"],
)
def test_policies_under_which_no_run_starts_delete_none(other: dict[str, Any]) -> None:
    one = rules("one", historyLimit=0, defaults={"ttl": "1h", "timeout": "1h"})
    assert keeping([one], {}, BASE) == Keeping(3600.0, 0)
    assert keeping([one, rules("other", **other)], {}, BASE) == FOREVER


def test_whether_any_says_something() -> None:
    assert says_nothing([])
    assert says_nothing([rules("one", network="none", defaults={"timeout": "1h"})])
    assert not says_nothing([rules("one"), rules("two", historyLimit=0)])
    assert not says_nothing([rules("one", defaults={"ttl": "1h"})])
