"""What policies allow a stack: each rule off, on, and in a service that is off."""

from __future__ import annotations

import dataclasses

import pytest

from stromboli.compose.selection import select
from stromboli.errors import ComposeProblem, NotPermitted
from stromboli.grammar import capability
from stromboli.plan.compose_rules import Bound, CapabilityList, ComposeRules, Switch
from stromboli.plan.limits import Ceiling, Limits
from stromboli.plan.stack import rules
from tests.support.composed import stack

NONE = ComposeRules()


def judge(keys: str, given: ComposeRules = NONE, limits: Limits | None = None, agent: str = "") -> tuple[str, ...]:
    """Of a file with the agent's service `a` and a service `s` with these keys."""
    whole = stack(f"services: {{a: {{image: x, {agent}}}, s: {{image: x, {keys}}}}}")
    return rules.judge(whole, select(whole, (), "a"), given, limits or Limits())


def refused(keys: str, given: ComposeRules = NONE, limits: Limits | None = None, agent: str = "") -> ComposeProblem:
    with pytest.raises(ComposeProblem) as caught:
        judge(keys, given, limits, agent)
    return caught.value


@pytest.mark.parametrize(
    ("keys", "key", "field"),
    [
        ("privileged: true", "services.s.privileged", "allowPrivileged"),
        ("network_mode: host", "services.s.network_mode", "allowHostNetwork"),
        ("extra_hosts: ['a:1.2.3.4', 'b:host-gateway']", "services.s.extra_hosts[1]", "allowHostNetwork"),
        ("cap_add: [CHOWN, net_admin]", "services.s.cap_add[1]", "capabilities"),
        ("cap_drop: [ALL], cap_add: [Cap_Bpf]", "services.s.cap_add[0]", "capabilities"),
        ("cap_add: [all]", "services.s.cap_add[0]", "capabilities"),
    ],
)
def test_what_opens_the_node_is_off_by_default_in_every_service(keys: str, key: str, field: str) -> None:
    for each in (keys, f"{keys}, profiles: [p]"):
        problem = refused(each)
        assert isinstance(problem, NotPermitted)
        assert problem.key == key
        assert problem.where == "compose.yaml:1"
        assert f"compose.{field}" in problem.what


def test_a_policy_may_turn_it_on() -> None:
    on = ComposeRules(
        privileged=Switch("compose.allowPrivileged", on=True),
        host_network=Switch("compose.allowHostNetwork", on=True),
        capabilities=(CapabilityList("AgentPolicy p", frozenset({"NET_ADMIN"})),),
    )
    keys = "privileged: true, network_mode: host, extra_hosts: ['b:host-gateway'], cap_add: [NET_ADMIN]"
    assert judge(keys, on) == ()
    assert refused("cap_add: [NET_ADMIN, SYS_ADMIN]", on).key == "services.s.cap_add[1]"


def test_the_default_capabilities_need_no_policy() -> None:
    names = ", ".join(sorted(rules.DEFAULT_CAPABILITIES))
    assert judge(f"cap_add: [{names}]") == ()
    assert set(capability.NAMES) > rules.DEFAULT_CAPABILITIES


def test_ports_are_named_where_they_are_not_published() -> None:
    (notice,) = judge("ports: ['80:80', '1000-1001:90-91']", agent="ports: ['81:80']")
    assert notice.startswith("not published: services.a.ports[0], services.s.ports[0], services.s.ports[1] (")
    assert judge("ports: ['80:80']", ComposeRules(ports=Switch("compose.allowPorts", on=True))) == ()
    assert judge("ports: ['80:80'], profiles: [p]") == ()
    (notice,) = judge(f"ports: [{', '.join(map(str, range(1000, 1100)))}]")
    assert notice.startswith("not published: services.s.ports[0], ")
    assert "and 80 more" in notice


def test_builds_need_a_policy_or_an_image() -> None:
    (notice,) = judge("build: .")
    assert "services.s.build" in notice
    built = "services: {a: {image: x}, s: {build: .}}"
    whole = stack(built)
    selected = select(whole, (), "a")
    with pytest.raises(NotPermitted, match=r"services\.s\.build: images are not built here"):
        rules.judge(whole, selected, NONE, Limits())
    assert rules.judge(whole, selected, ComposeRules(build=Switch("compose.allowBuild", on=True)), Limits()) == ()
    off = stack(built.replace("build: .", "build: ., profiles: [p]"))
    assert rules.judge(off, select(off, (), "a"), NONE, Limits()) == ()


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("mem_limit: 2g", "mem_limit"),
        ("deploy: {resources: {limits: {memory: 2g}}}", "deploy.resources.limits.memory"),
        ("mem_reservation: 2g", "mem_reservation"),
        ("deploy: {resources: {reservations: {memory: 2g}}}", "deploy.resources.reservations.memory"),
        ("shm_size: 2g", "shm_size"),
        ("mem_limit: 1g, memswap_limit: 3g", "memswap_limit"),
        ("tmpfs: '/t:size=2g'", "tmpfs[0]"),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 2g}}]", "volumes[0]"),
        ("cpus: 2.5", "cpus"),
        ("deploy: {resources: {limits: {cpus: '2.5'}}}", "deploy.resources.limits.cpus"),
        ("pids_limit: 200", "pids_limit"),
        ("deploy: {resources: {limits: {pids: 200}}}", "deploy.resources.limits.pids"),
    ],
)
def test_nothing_is_above_a_ceiling(keys: str, key: str) -> None:
    ceilings = Limits(
        memory=Ceiling(2**30, "1Gi", "AgentPolicy p"),
        cpus=Ceiling(2000, "2", "AgentPolicy p"),
        pids=Ceiling(100, "100", "AgentPolicy p"),
    )
    problem = refused(keys, limits=ceilings)
    assert isinstance(problem, NotPermitted)
    assert problem.key == f"services.s.{key}"
    assert "AgentPolicy p" in problem.what
    most = "mem_limit: 1g, memswap_limit: 2g, shm_size: 1g, tmpfs: '/t:size=1g', cpus: 2, pids_limit: 100"
    assert judge(most, limits=ceilings) == ()


@pytest.mark.parametrize("key", ["mem_limit", "shm_size"])
def test_without_a_policy_there_is_a_ceiling_of_memory_all_the_same(key: str) -> None:
    problem = refused(f"{key}: 512g")
    assert problem.key == f"services.s.{key}"
    assert f"{512 * 2**30} bytes is over the ceiling of 256Gi" in problem.what
    assert judge(f"{key}: 512g", limits=Limits(memory=Ceiling(2**40, "1Ti", "AgentPolicy p"))) == ()


def test_services_are_counted_that_are_on() -> None:
    most = dataclasses.replace(NONE, max_services=Bound("compose.maxServices", 1, "1", "AgentPolicy p"))
    problem = refused("init: true", most)
    assert problem.key == "services"
    assert "has 2 services that are on, and the most is 1" in problem.what
    assert judge("profiles: [p]", most) == ()


@pytest.mark.parametrize("target", ["/run", "/opt", "/etc", "/var/run"])
def test_around_our_mounts_nothing_is_mounted_in_the_agents_service(target: str) -> None:
    problem = refused("init: true", agent=f"volumes: ['{target}']")
    assert not isinstance(problem, NotPermitted)
    assert problem.key == "services.a.volumes[0]"
    assert judge(f"volumes: ['{target}']") == ()


def test_only_memory_at_run_is_out_of_our_way() -> None:
    assert judge("init: true", agent="tmpfs: [/run, /tmp]") == ()
    assert refused("init: true", agent="tmpfs: [/run, /var/run]").key == "services.a.tmpfs[1]"
    assert refused("init: true", agent="tmpfs: [/run/stromboli]").key == "services.a.tmpfs[0]"
