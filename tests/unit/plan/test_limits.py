"""Ceilings: of several policies the least, over one is a refusal that names it, and what is not stated is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import InvalidInput, Refused
from stromboli.plan import request
from stromboli.plan.limits import Ceiling
from stromboli.plan.policy import Effective
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec

ALL = {"memory": "4Gi", "cpus": "1500m", "pids": 1024, "timeout": "1h", "maxTurns": 50, "maxBudgetUSD": 2.5}
TIGHT = effective(policy("tight", limits=ALL))
WITHIN = {
    "resources": {"memory": "4096Mi", "cpus": "1.5", "pids": 1024},
    "timeout": "60m",
    "claude": {"maxTurns": 50, "maxBudgetUSD": 2.5},
}
# What is asked, and what the refusal says.
OVER: dict[str, tuple[dict[str, Any], str]] = {
    "memory": (
        {"resources": {"memory": "4097Mi"}},
        "spec.resources.memory: 4097Mi is over the ceiling of 4Gi that AgentPolicy tight sets in limits.memory; "
        "ask for at most 4Gi",
    ),
    "memory as a number": ({"resources": {"memory": 2**33}}, "spec.resources.memory: 8589934592 is over the ceiling"),
    "cpus": ({"resources": {"cpus": 8192}}, "spec.resources.cpus: 8192 is over the ceiling of 1500m"),
    "pids": ({"resources": {"pids": 1025}}, "spec.resources.pids: 1025 is over the ceiling of 1024"),
    "timeout": ({"timeout": "1h1s"}, "spec.timeout: 1h1s is over the ceiling of 1h"),
    "turns": ({"claude": {"maxTurns": 51}}, "spec.claude.maxTurns: 51 is over the ceiling of 50"),
    "budget": ({"claude": {"maxBudgetUSD": 2.51}}, "spec.claude.maxBudgetUSD: 2.51 is over the ceiling of 2.5"),
    "in a session": (
        {"session": {"name": "s"}, "resources": {"memory": "5Gi"}},
        "spec.resources.memory (the run's own, or its session's template's): 5Gi is over the ceiling of 4Gi",
    ),
}


@pytest.mark.parametrize("what", OVER)
def test_what_is_over_a_ceiling_is_refused_by_name(what: str) -> None:
    asked, said = OVER[what]
    with pytest.raises(Refused) as refused:
        request.build(spec(**asked), TIGHT)
    assert refused.value.reason is Reason.PolicyViolation
    assert refused.value.message.startswith(said)


def test_what_is_at_the_ceiling_is_given() -> None:
    found = request.build(spec(**WITHIN), TIGHT)
    assert (found.memory, found.cpus, found.pids, found.timeout) == (2**32, 1500, 1024, 3600.0)
    assert (found.claude.max_turns, found.claude.max_budget_usd) == (50, 2.5)


def _of(under: Effective) -> tuple[object, ...]:
    found = request.build(spec(), under)
    return found.memory, found.cpus, found.pids, found.timeout, found.claude.max_turns, found.claude.max_budget_usd


def test_a_run_that_states_nothing_gets_the_ceilings() -> None:
    """Without a bound, it would be over them."""
    assert _of(TIGHT) == (2**32, 1500, 1024, 1800.0, 50, 2.5)
    assert _of(effective()) == (None, None, request.DEFAULT_PIDS, 1800.0, None, None)


def test_a_run_that_states_nothing_gets_the_default_where_it_is_within() -> None:
    small = policy("small", defaults={"memory": "1Gi", "cpus": 1, "timeout": "10m"})
    large = policy("large", defaults={"memory": "8Gi", "cpus": 4, "timeout": "2h"})
    assert _of(effective(policy("tight", limits=ALL), small))[:4] == (2**30, 1000, 1024, 600.0)
    assert _of(effective(policy("tight", limits=ALL), large))[:4] == (2**32, 1500, 1024, 3600.0)


def test_of_several_policies_the_least_holds() -> None:
    found = effective(
        policy("a", limits={"memory": "1Gi", "cpus": 4}),
        policy("b", limits={"memory": "1000M", "timeout": "1h", "maxTurns": 7}),
        policy("c", limits={"cpus": "3999m", "timeout": "61m"}),
        policy("d"),
    ).limits
    assert found.memory == Ceiling(1_000_000_000, "1000M", "AgentPolicy b")
    assert found.cpus == Ceiling(3999, "3999m", "AgentPolicy c")
    assert found.timeout == Ceiling(3600.0, "1h", "AgentPolicy b")
    assert found.max_turns == Ceiling(7, "7", "AgentPolicy b")
    assert found.pids is found.max_budget_usd is None


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"memory": "512m"}, "write 512Mi"),
        ({"memory": "5Mi"}, "less than the 6Mi"),
        ({"cpus": 0}, "is not above zero"),
        ({"timeout": "500ms"}, "less than a second"),
    ],
)
def test_a_ceiling_that_cannot_be_read_closes_the_door(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=f"AgentPolicy odd: limits: .*{said}") as refused:
        effective(policy("fine", limits=ALL), policy("odd", limits=limits))
    assert isinstance(refused.value.__cause__, InvalidInput)
