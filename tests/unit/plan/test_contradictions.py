"""What is said of a policy beside others: that it can be read, and what keeps a part of it from having an effect."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.plan import contradictions
from stromboli.plan.contradictions import Verdict, may_share
from stromboli.plan.policy import Rules
from stromboli.reasons import AcceptedReason, EffectiveReason, Reason
from tests.support.builders import policy
from tests.unit.plan.test_policy import CONFLICTS

RED = {"matchLabels": {"team": "red"}}
BLUE = {"matchLabels": {"team": "blue"}}


def _judged(*found: Rules | Refused) -> dict[str, Verdict]:
    return contradictions.judge({one.name if isinstance(one, Rules) else "odd": one for one in found})


def _said(name: str, *found: Rules) -> str:
    """What contradicts the policy; nothing where it is effective."""
    verdict = _judged(*found)[name]
    assert verdict.accepted[0] is AcceptedReason.Accepted
    reason, message = verdict.effective
    assert reason in (EffectiveReason.Effective, EffectiveReason.Contradiction)
    return "" if reason is EffectiveReason.Effective else message


def test_policies_that_say_nothing_or_the_same_are_effective() -> None:
    assert _said("a", policy("a")) == ""
    one = {"images": {"allowed": ["python:*"]}, "limits": {"memory": "1Gi"}, "defaults": {"memory": "1024Mi"}}
    assert _said("a", policy("a", **one), policy("b", **one), policy("c", volumes={})) == ""


# --- values ---


@pytest.mark.parametrize("field", CONFLICTS)
def test_whatever_stops_a_run_because_two_policies_differ_is_said_at_both(field: str) -> None:
    one, other = (policy(name, **said) for name, said in zip("ab", CONFLICTS[field], strict=True))
    assert f"{field}: AgentPolicy b gives another value" in _said("a", one, other)
    assert f"{field}: AgentPolicy a gives another value" in _said("b", one, other)
    assert _said("a", one, policy("b", **CONFLICTS[field][0])) == ""


def test_all_that_contradicts_is_said() -> None:
    one = policy("a", cli={"tag": "1"}, network="none", env=[{"name": "X", "value": "1"}])
    other = policy("b", cli={"tag": "2"}, network="bridge", env=[{"name": "X", "value": "2"}])
    third = policy("c", cli={"tag": "3"})
    said = _said("a", one, other, third)
    assert said.count("gives another value") == 3
    assert "cli.tag: AgentPolicy b" in said
    assert "cli.tag: AgentPolicy c" in said


# --- volumes ---


def _volumes(name: str, *paths: str, **fields: Any) -> Rules:
    return policy(name, volumes={"allowed": [{"path": path} for path in paths]}, **fields)


@pytest.mark.parametrize(
    ("one", "other", "none"),
    [
        (["/srv/a"], ["/srv/b"], True),
        (["/srv/a"], ["/srv/ab"], True),
        (["/srv"], ["/srv/b"], False),
        (["/srv/b/c"], ["/srv/b/"], False),
        (["/"], ["/data"], False),
        (["/a", "/b"], ["/c", "/b"], False),
        (["/a"], [], False),
    ],
)
def test_folders_of_which_none_is_allowed_by_both(one: list[str], other: list[str], none: bool) -> None:
    """An empty list is meant to allow none."""
    said = _said("a", _volumes("a", *one), _volumes("b", *other))
    assert said.startswith("volumes.allowed: no folder of it is allowed by AgentPolicy b") == none
    assert bool(said) == none


def test_three_lists_may_have_nothing_in_common_where_two_have() -> None:
    three = (_volumes("a", "/x", "/y"), _volumes("b", "/y", "/z"), _volumes("c", "/x", "/z"))
    assert _said("a", *three[:2]) == ""
    assert "by AgentPolicy b and AgentPolicy c too" in _said("a", *three)


# --- images ---


def _images(name: str, *patterns: str, **fields: Any) -> Rules:
    return policy(name, images={"allowed": list(patterns)} | fields.pop("images", {}), **fields)


def test_lists_of_which_no_image_is_on_both() -> None:
    one, other = _images("a", "python:*", "node:*"), _images("b", "ghcr.io/**", "debian:12")
    assert "images.allowed: AgentPolicy b allows none of its images" in _said("a", one, other)
    assert "images.allowed: AgentPolicy a allows none" in _said("b", one, other)
    assert _said("a", one, _images("b", "node:2?")) == ""


def test_digests_that_no_pattern_admits() -> None:
    alone = _images("a", "python:3.12", "node:2?", images={"requireDigest": True})
    assert "images.requireDigest of AgentPolicy a: every pattern in images.allowed of AgentPolicy a" in _said(
        "a", alone
    )
    tags, strict = _images("a", "python:3.12"), policy("b", images={"requireDigest": True})
    for name in ("a", "b"):
        assert "requireDigest of AgentPolicy b: every pattern in images.allowed of AgentPolicy a" in _said(
            name, tags, strict
        )
    assert _said("b", _images("a", "python:3.12", "python:*"), strict) == ""


def test_a_default_image_that_is_refused() -> None:
    named = policy("a", defaults={"image": "python:3.12"})
    assert "docker.io/library/python:3.12 is not allowed by AgentPolicy b" in _said("a", named, _images("b", "node:*"))
    assert "names no digest, which AgentPolicy b requires" in _said(
        "a", named, _images("b", "python:*", images={"requireDigest": True})
    )
    assert _said("a", named, _images("b", "python:*")) == ""


# --- ceilings ---


@pytest.mark.parametrize(
    ("default", "limit"),
    [({"memory": "2Gi"}, {"memory": "1Gi"}), ({"cpus": 2}, {"cpus": "1999m"}), ({"timeout": "1h"}, {"timeout": "59m"})],
)
def test_a_default_over_a_ceiling(default: dict[str, Any], limit: dict[str, Any]) -> None:
    ((field, value),), (ceiling,) = default.items(), limit.values()
    said = _said("a", policy("a", defaults=default), policy("b", limits=limit))
    assert said == (
        f"defaults.{field}: {value} is over limits.{field} of AgentPolicy b, "
        f"so that runs that state nothing get {ceiling}"
    )
    assert _said("b", policy("a", defaults=default), policy("b", limits=limit)) == ""
    assert "limits" in _said("a", policy("a", defaults=default, limits=limit))
    assert _said("a", policy("a", defaults=default), policy("b", limits=default)) == ""


# --- where no namespace can have both ---


def test_what_never_meets_does_not_contradict() -> None:
    red, blue = (policy(n, namespaceSelector=s, cli={"tag": n}) for n, s in (("a", RED), ("b", BLUE)))
    assert _said("a", red, blue) == ""
    assert "cli.tag" in _said("a", red, policy("b", cli={"tag": "b"}))


def _expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "team", "operator": operator, **({"values": [*values]} if values else {})}]}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({}, RED, True),
        (RED, RED, True),
        (RED, BLUE, False),
        (RED, {"matchLabels": {"tier": "x"}}, True),
        (_expression("In", "red", "green"), RED, True),
        (_expression("In", "green"), RED, False),
        (_expression("NotIn", "red"), RED, False),
        (_expression("NotIn", "blue"), RED, True),
        (_expression("Exists"), RED, True),
        (_expression("DoesNotExist"), RED, False),
        (_expression("DoesNotExist"), _expression("Exists"), False),
        (_expression("DoesNotExist"), _expression("NotIn", "red"), True),
        (_expression("NotIn", "red"), _expression("NotIn", "blue"), True),
    ],
)
def test_selectors_that_a_namespace_could_match_both(one: Any, other: Any, shared: bool) -> None:
    a, b = policy("a", namespaceSelector=one), policy("b", namespaceSelector=other)
    assert may_share(a, b) is may_share(b, a) is shared


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (Refused(Reason.PolicyViolation, "AgentPolicy odd cannot be read (spec.x: …)"), "cannot be read (spec.x"),
        (policy("odd", defaults={"memory": "512m"}), "defaults.memory: '512m' is a fraction of a byte"),
        (policy("odd", limits={"cpus": 0}), "limits: '0' is not above zero"),
        (
            policy("odd", namespaceSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
            "namespaceSelector: In and NotIn need values",
        ),
    ],
)
def test_one_that_cannot_be_read_is_not_accepted_and_none_is_effective(odd: Rules | Refused, said: str) -> None:
    found = _judged(odd, policy("fine"))
    assert found["odd"].accepted[0] is AcceptedReason.Invalid
    assert said in found["odd"].accepted[1]
    assert found["odd"].effective[0] is found["fine"].effective[0] is EffectiveReason.Invalid
    assert found["fine"].accepted[0] is AcceptedReason.Accepted
    assert "AgentPolicy odd cannot be read, which stops every run" in found["fine"].effective[1]


# --- networks of receivers ---


def test_lists_of_networks_without_a_common_address() -> None:
    def listing(name: str, *networks: str) -> Rules:
        return policy(name, notify={"allowedNetworks": list(networks)})

    one = listing("a", "10.0.0.0/16", "fd00::/64")
    other = listing("b", "10.1.0.0/16", "::/128")
    said = (
        "notify.allowedNetworks: AgentPolicy {} has no address of its networks, so that notifications go to public "
        "addresses only under both"
    )
    assert _said("a", one, other) == said.format("b")
    assert _said("b", one, other) == said.format("a")
    for fits in (listing("b", "10.0.0.0/8"), listing("b", "fd00::1/128"), listing("b"), policy("b", notify={})):
        assert _said("a", one, fits) == _said("b", one, fits) == ""


# --- stacks ---


def test_lists_of_capabilities_without_a_common_one() -> None:
    one, other = policy("a", compose={"capabilities": ["NET_RAW"]}), policy("b", compose={"capabilities": ["CAP_BPF"]})
    said = "compose.capabilities: AgentPolicy {} has none of them, so that no service gets any under both"
    assert _said("a", one, other) == said.format("b")
    assert _said("b", one, other) == said.format("a")
    fitting: list[dict[str, Any]] = [
        {"capabilities": ["ALL"]},
        {"capabilities": ["net_raw", "BPF"]},
        {"capabilities": []},
        {},
    ]
    for fits in fitting:
        assert _said("a", one, policy("b", compose=fits)) == _said("b", one, policy("b", compose=fits)) == ""


def test_rules_for_stacks_in_a_policy_that_turns_them_off() -> None:
    off = {"enabled": False}
    assert _said("a", policy("a", compose=off), policy("b", compose={"allowBuild": True})) == ""
    said = _said("a", policy("a", compose=off | {"allowBuild": True}))
    assert said == "compose.enabled: is false, so that nothing else in compose has an effect"
