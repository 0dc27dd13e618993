"""The limits of a namespace's policies, and the check of a run against them. Pure.

Of several policies, the lowest limit applies. A run that asks for more is refused, never lowered. A run that sets no
value gets the policies' default, or the limit itself if there is no default or the default exceeds it: without a bound
it would exceed the limit as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stromboli.errors import Refused
from stromboli.models import agentpolicy
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.claude import ClaudeOptions
from stromboli.models.fields import Resources
from stromboli.plan import amounts
from stromboli.reasons import Reason

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Ceiling(Generic[N]):
    """A limit: as a number, as its owner wrote it, and the owner."""

    value: N
    text: str
    owner: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one namespace. Memory in bytes, CPUs in thousandths, timeout in seconds."""

    memory: Ceiling[int] | None = None
    cpus: Ceiling[int] | None = None
    pids: Ceiling[int] | None = None
    timeout: Ceiling[float] | None = None
    max_budget_usd: Ceiling[float] | None = None
    max_turns: Ceiling[int] | None = None


def least(stated: Sequence[tuple[str, agentpolicy.Limits]]) -> Limits:
    """The lowest of each, from (owner, limits). Raises InvalidInput for an invalid value."""

    def one(number: Callable[[Any], N], values: Iterable[object | None]) -> Ceiling[N] | None:
        said = zip(stated, values, strict=True)
        found = [Ceiling(number(value), str(value), owner) for (owner, _), value in said if value is not None]
        return min(found, key=lambda c: c.value, default=None)

    given = [limits for _, limits in stated]
    return Limits(
        memory=one(amounts.memory, (each.memory for each in given)),
        cpus=one(amounts.cpus, (each.cpus for each in given)),
        pids=one(int, (each.pids for each in given)),
        timeout=one(amounts.timeout, (each.timeout for each in given)),
        max_budget_usd=one(float, (each.max_budget_usd for each in given)),
        max_turns=one(int, (each.max_turns for each in given)),
    )


def granted(default: N | None, ceiling: Ceiling[N] | None) -> N | None:
    """The value for a run that sets none."""
    if default is None:
        return None if ceiling is None else ceiling.value
    return capped(default, ceiling)


def capped(default: N, ceiling: Ceiling[N] | None) -> N:
    """The value for a run that sets none, if there is always a default."""
    return default if ceiling is None else min(default, ceiling.value)


def options(stated: ClaudeOptions, limits: Limits) -> ClaudeOptions:
    """The CLI's options, with the limits where the run sets no value."""
    update: dict[str, object] = {}
    if stated.max_turns is None and limits.max_turns is not None:
        update["max_turns"] = limits.max_turns.value
    if stated.max_budget_usd is None and limits.max_budget_usd is not None:
        update["max_budget_usd"] = limits.max_budget_usd.value
    return stated.model_copy(update=update)


def check(spec: AgentRunSpec, limits: Limits) -> None:
    """Check that everything a valid spec asks for is within the limits. Raises Refused(PolicyViolation)."""
    stated, claude = spec.resources or Resources(), spec.claude or ClaudeOptions()
    origin = "" if spec.session is None else " (the run's own, or its session's template's)"
    _within(f"spec.resources.memory{origin}", "memory", stated.memory, amounts.memory, limits.memory)
    _within(f"spec.resources.cpus{origin}", "cpus", stated.cpus, amounts.cpus, limits.cpus)
    _within(f"spec.resources.pids{origin}", "pids", stated.pids, int, limits.pids)
    _within("spec.timeout", "timeout", spec.timeout, amounts.timeout, limits.timeout)
    _within("spec.claude.maxTurns", "maxTurns", claude.max_turns, int, limits.max_turns)
    _within("spec.claude.maxBudgetUSD", "maxBudgetUSD", claude.max_budget_usd, float, limits.max_budget_usd)


def _within(
    field: str, limit: str, stated: object | None, number: Callable[[Any], N], ceiling: Ceiling[N] | None
) -> None:
    if stated is None or ceiling is None or number(stated) <= ceiling.value:
        return
    raise Refused(
        Reason.PolicyViolation,
        f"{field}: {stated} is over the ceiling of {ceiling.text} that {ceiling.owner} sets in limits.{limit}; "
        f"ask for at most {ceiling.text}",
    )
