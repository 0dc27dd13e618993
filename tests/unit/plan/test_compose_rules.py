"""What policies say about stacks: the defaults, the strictest of several, and who it is from."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.plan.compose_rules import ComposeRules, Switch
from tests.support.builders import effective, policy

SWITCHES = ("allowPrivileged", "allowHostNetwork", "allowPorts", "allowBuild")


def rules(**policies: Any) -> ComposeRules:
    """What these policies, each by name with its `compose`, come to."""
    return effective(*(policy(name, compose=stated) for name, stated in policies.items())).compose


def switches(found: ComposeRules) -> dict[str, Switch]:
    all_of_them = (found.privileged, found.host_network, found.ports, found.build)
    return {one.field.removeprefix("compose."): one for one in all_of_them}


def test_without_policies_a_stack_may_be_there_and_nothing_more() -> None:
    found = effective().compose
    assert found.enabled.refusal is None
    assert {name: one.refusal for name, one in switches(found).items()} == {
        name: f"no policy sets compose.{name}: true" for name in SWITCHES
    }
    assert found.capability_refusal("NET_ADMIN") == "no policy has NET_ADMIN in compose.capabilities"
    assert (found.health_timeout.value, found.build_timeout.value, found.idle_ttl.value) == (300, 900, 1800)
    assert found.max_services.value == 64
    assert str(found.idle_ttl) == "compose.idleTTL, 30m by default"


def test_a_policy_that_states_nothing_has_no_say() -> None:
    assert rules(a={}) == effective().compose
    assert rules(a={"allowBuild": True}, b={}) == rules(a={"allowBuild": True})
    assert effective(policy("a", compose={"allowBuild": True}), policy("b")).compose.build.on


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_is_its_own_and_the_strictest_wins(name: str) -> None:
    on = switches(rules(a={name: True}))
    assert {other for other, one in on.items() if one.on} == {name}
    assert on[name].refusal is None
    for found in (rules(a={name: True}, b={name: False}), rules(b={name: False}, c={name: True})):
        assert switches(found)[name].refusal == f"AgentPolicy b sets compose.{name}: false"


def test_stacks_are_off_as_soon_as_one_policy_turns_them_off() -> None:
    found = rules(a={"enabled": True}, b={"enabled": False})
    assert found.enabled.refusal == "AgentPolicy b sets compose.enabled: false"


def test_capabilities_are_those_that_every_list_has() -> None:
    found = rules(a={"capabilities": ["CAP_NET_ADMIN", "sys_ptrace"]}, b={"capabilities": ["net_admin", "NET_RAW"]})
    assert found.capability_refusal("NET_ADMIN") is None
    assert found.capability_refusal("SYS_PTRACE") == "AgentPolicy b does not have SYS_PTRACE in compose.capabilities"
    assert found.capability_refusal("NET_RAW") == "AgentPolicy a does not have NET_RAW in compose.capabilities"


def test_all_capabilities_are_all_and_an_empty_list_is_none() -> None:
    found = rules(a={"capabilities": ["ALL"]}, b={"capabilities": ["BPF"]})
    assert found.capability_refusal("BPF") is None
    assert found.capability_refusal("ALL") == "AgentPolicy b does not have ALL in compose.capabilities"
    assert rules(a={"capabilities": ["all"]}).capability_refusal("ALL") is None
    assert rules(a={"capabilities": []}).capability_refusal("BPF") is not None


@pytest.mark.parametrize(
    ("field", "attribute"),
    [("healthTimeout", "health_timeout"), ("buildTimeout", "build_timeout"), ("idleTTL", "idle_ttl")],
)
def test_of_times_the_least_wins_and_one_may_be_over_the_default(field: str, attribute: str) -> None:
    assert getattr(rules(a={field: "5h"}), attribute).value == 18000
    found = getattr(rules(a={field: "5h"}, b={field: "90m"}, c={field: "3h"}), attribute)
    assert (found.value, found.text, found.owner) == (5400, "90m", "AgentPolicy b")
    assert str(found) == f"compose.{field}, 90m in AgentPolicy b"


def test_of_numbers_of_services_the_least_wins() -> None:
    found = rules(a={"maxServices": 100}, b={"maxServices": 3}).max_services
    assert (found.value, found.owner) == (3, "AgentPolicy b")


@pytest.mark.parametrize("field", ["healthTimeout", "buildTimeout", "idleTTL"])
def test_a_time_that_is_none_is_reported_with_its_policy(field: str) -> None:
    with pytest.raises(Refused, match=rf"AgentPolicy odd: compose: {field}: 'soon' is not a duration"):
        rules(fine={field: "1h"}, odd={field: "soon"})
