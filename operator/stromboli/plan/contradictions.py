"""Finds what keeps a cluster's policies from having their intended effect. Pure.

Two policies are compared if a namespace could match both, whether there is one or not: the labels of future namespaces
are unknown. The result is only reported: plan/policy.py decides on runs, and refuses contradictions. The operator's
settings are left out: they are not an object of the cluster, and another operator may have others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stromboli.errors import Refused
from stromboli.grammar import reference
from stromboli.grammar.pattern import Pattern
from stromboli.models.agentpolicy import NamespaceSelector, Operator
from stromboli.plan import policy as policies
from stromboli.plan import volumes
from stromboli.plan.limits import Ceiling
from stromboli.plan.policy import Base, Effective, Rules
from stromboli.reasons import AcceptedReason, EffectiveReason

# A policy is checked alone under empty settings; that there is a CLI image somewhere is assumed.
_ALONE = Base(cli_image="localhost/cli")
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one policy: a reason and a message for each of its conditions."""

    accepted: tuple[AcceptedReason, str]
    effective: tuple[EffectiveReason, str]


@dataclass(frozen=True, slots=True)
class _Read:
    """A valid policy, and its effect alone."""

    policy: Rules
    alone: Effective

    @property
    def owner(self) -> str:
        return self.policy.owner

    @property
    def patterns(self) -> tuple[Pattern, ...] | None:
        return self.alone.allowlists[0].patterns if self.alone.allowlists else None

    @property
    def folders(self) -> tuple[str, ...] | None:
        return tuple(path for path, _ in self.alone.volumes[0].folders) if self.alone.volumes else None


def judge(found: Mapping[str, Rules | Refused]) -> dict[str, Verdict]:
    """The verdict on each policy, from each policy by name, or why it is invalid."""
    read: dict[str, _Read] = {}
    unread: dict[str, str] = {}
    for name, one in sorted(found.items()):
        if isinstance(one, Refused):
            unread[name] = one.message
            continue
        try:
            policies.selects(one, {})  # raises for an invalid expression
            read[name] = _Read(one, policies.combine([one], _ALONE))
        except Refused as refusal:
            unread[name] = refusal.message
    verdicts = {name: _unread(said) for name, said in unread.items()}
    return verdicts | {name: _verdict(one, tuple(read.values()), unread) for name, one in read.items()}


def _unread(said: str) -> Verdict:
    return Verdict((AcceptedReason.Invalid, said), (EffectiveReason.Invalid, "cannot be read, and stops every run"))


def _verdict(one: _Read, read: Sequence[_Read], unread: Mapping[str, str]) -> Verdict:
    accepted = (AcceptedReason.Accepted, "the policy can be read")
    if unread:
        names = ", ".join(f"AgentPolicy {name}" for name in unread)
        return Verdict(accepted, (EffectiveReason.Invalid, f"{names} cannot be read, which stops every run"))
    said = list(dict.fromkeys(_contradictions(one, [o for o in read if may_share(one.policy, o.policy)])))
    if said:
        return Verdict(accepted, (EffectiveReason.Contradiction, "; ".join(said)))
    return Verdict(accepted, (EffectiveReason.Effective, "nothing contradicts the policy"))


def _contradictions(one: _Read, beside: Sequence[_Read]) -> Iterator[str]:
    """What contradicts `one`; `beside` are all policies that could apply together with it, including itself."""
    for other in beside:
        if other.policy.name != one.policy.name:
            yield from _values(one, other)
            yield from _images(one, other)
            yield from _capabilities(one, other)
            yield from _networks(one, other)
        yield from _digests(one, other)
        yield from _default_image(one, other)
        yield from _defaults(one, other)
    yield from _folders(one, beside)
    yield from _stacks(one)


def _values(one: _Read, other: _Read) -> Iterator[str]:
    mine, theirs = policies.stated(one.policy.spec), policies.stated(other.policy.spec)
    for field, value in mine.items():
        if field in theirs and theirs[field] != value:
            yield f"{field}: {other.owner} gives another value, so that runs under both are refused"


def _images(one: _Read, other: _Read) -> Iterator[str]:
    if one.patterns is None or other.patterns is None:
        return
    if all(a.is_disjoint(b) for a in one.patterns for b in other.patterns):
        yield f"images.allowed: {other.owner} allows none of its images, so that no image runs under both"


def _capabilities(one: _Read, other: _Read) -> Iterator[str]:
    """An empty list allows none on purpose."""
    for mine in one.alone.compose.capabilities:
        for theirs in other.alone.compose.capabilities:
            shared = any(theirs.has(name) for name in mine.names) or any(mine.has(name) for name in theirs.names)
            if mine.names and theirs.names and not shared:
                yield f"compose.capabilities: {other.owner} has none of them, so that no service gets any under both"


def _networks(one: _Read, other: _Read) -> Iterator[str]:
    """An empty list allows none on purpose."""
    for mine in one.alone.networks:
        for theirs in other.alone.networks:
            shared = any(a.overlaps(b) for a in mine.networks for b in theirs.networks)
            if mine.networks and theirs.networks and not shared:
                yield (
                    f"notify.allowedNetworks: {other.owner} has no address of its networks, so that notifications go "
                    "to public addresses only under both"
                )


def _stacks(one: _Read) -> Iterator[str]:
    stated = one.policy.spec.compose
    if stated is not None and stated.enabled is False and len(stated.model_dump(exclude_none=True)) > 1:
        yield "compose.enabled: is false, so that nothing else in compose has an effect"


def _digests(one: _Read, other: _Read) -> Iterator[str]:
    """`one` may be the policy that requires digests, or the one whose patterns admit none."""
    for strict, lists in ((one, other), (other, one)):
        if strict.alone.require_digest and lists.patterns and not any(p.takes_digests for p in lists.patterns):
            yield (
                f"images.requireDigest of {strict.owner}: every pattern in images.allowed of {lists.owner} names a "
                "tag, which no reference with a digest matches; write python:* or python@sha256:… there"
            )


def _default_image(one: _Read, other: _Read) -> Iterator[str]:
    if one.alone.image is None:
        return
    image = reference.parse(one.alone.image)
    if other.patterns is not None and not any(p.matches(image) for p in other.patterns):
        yield f"defaults.image: {image} is not allowed by {other.owner}, so that runs that name no image are refused"
    if other.alone.require_digest and image.digest is None:
        yield f"defaults.image: {image} names no digest, which {other.owner} requires"


def _defaults(one: _Read, other: _Read) -> Iterator[str]:
    defaults, limits = one.policy.spec.defaults, other.alone.limits
    if defaults is None:
        return
    yield from _over("memory", defaults.memory, one.alone.memory, limits.memory)
    yield from _over("cpus", defaults.cpus, one.alone.cpus, limits.cpus)
    yield from _over("timeout", defaults.timeout, one.alone.timeout, limits.timeout)


def _over(field: str, written: object | None, value: N | None, ceiling: Ceiling[N] | None) -> Iterator[str]:
    if written is not None and value is not None and ceiling is not None and value > ceiling.value:
        yield (
            f"defaults.{field}: {written} is over limits.{field} of {ceiling.owner}, so that runs that state nothing "
            f"get {ceiling.text}"
        )


def _folders(one: _Read, beside: Sequence[_Read]) -> Iterator[str]:
    """A folder must be allowed by all of them. An empty list allows none on purpose."""
    if not one.folders:
        return
    left, asked = set(map(volumes.normal, one.folders)), [one]
    for other in beside:
        if other is one or not other.folders or not all(may_share(other.policy, a.policy) for a in asked):
            continue
        left = {deeper for a in left for b in other.folders for deeper in _common(a, volumes.normal(b))}
        asked.append(other)
        if not left:
            others = " and ".join(a.owner for a in asked[1:])
            yield f"volumes.allowed: no folder of it is allowed by {others} too, so that none can be mounted under all"
            return


def _common(one: str, other: str) -> Iterator[str]:
    """What both of two allowed folders allow: the deeper one, if one is inside the other."""
    if volumes.within(one, other):
        yield one
    elif volumes.within(other, one):
        yield other


# --- selectors ---


def may_share(one: Rules, other: Rules) -> bool:
    """Whether a namespace could have labels that both selectors match."""
    wanted = [*_wanted(one.spec.namespace_selector), *_wanted(other.spec.namespace_selector)]
    return all(_possible([w for w in wanted if w[0] == key]) for key in {w[0] for w in wanted})


_Wanted = tuple[str, Operator, frozenset[str]]


def _wanted(selector: NamespaceSelector | None) -> Iterator[_Wanted]:
    if selector is None:
        return
    for key, value in (selector.match_labels or {}).items():
        yield key, Operator.In, frozenset({value})
    for r in selector.match_expressions or []:
        yield r.key, r.operator, frozenset(r.values or ())


def _possible(wanted: Sequence[_Wanted]) -> bool:
    """Whether one label can satisfy them all."""
    operators = {operator for _, operator, _ in wanted}
    if Operator.DoesNotExist in operators:
        return not operators & {Operator.In, Operator.Exists}
    lists = [values for _, operator, values in wanted if operator is Operator.In]
    if not lists:
        return True
    excluded = frozenset[str]().union(*(values for _, operator, values in wanted if operator is Operator.NotIn))
    return bool(frozenset.intersection(*lists) - excluded)
