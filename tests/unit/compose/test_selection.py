"""Which services are on, which one is the agent's, and what has to fit between them."""

from __future__ import annotations

import dataclasses
import time

import pytest

from stromboli.compose.selection import MOST_MOUNTS, MOST_NETWORKS, MOST_VOLUMES, select
from stromboli.errors import ComposeProblem
from tests.support.composed import selected, stack


def refused(text: str, agent: str | None = "a", profiles: tuple[str, ...] = ()) -> ComposeProblem:
    with pytest.raises(ComposeProblem) as caught:
        selected(text, agent, profiles)
    return caught.value


def two(a: str = "", b: str = "", rest: str = "") -> str:
    return f"services: {{a: {{image: x, {a}}}, b: {{image: x, {b}}}}}\n{rest}"


def test_the_only_service_is_the_agents() -> None:
    assert selected("services: {a: {image: x}}").agent == "a"
    assert selected(two(b="profiles: [p]")).agent == "a"


def test_one_of_several_has_to_be_named() -> None:
    problem = refused(two(), None)
    assert problem.key == "service"
    assert problem.what.endswith("name the one in which the agent runs: a, b")
    assert "a, b" in refused(two(), "c").what


def test_a_service_that_is_off_cannot_be_the_agents() -> None:
    text = two("profiles: [p, q]")
    assert "(p, q)" in refused(text).what
    assert selected(text, "a", ("q",)).agent == "a"
    assert refused(two("profiles: [p]", "profiles: [q]"), None).key == "service"


def test_profiles_turn_services_on() -> None:
    text = two(b="profiles: [p]")
    assert list(selected(text, "a").services) == ["a"]
    assert list(selected(text, "a", ("p",)).services) == ["a", "b"]
    assert list(selected(text, "a", ("*",)).services) == ["a", "b"]
    assert list(selected(text, "a", ("P",)).services) == ["a"]


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("depends_on: [b]", "services.a.depends_on[0]"),
        ("depends_on: {b: {condition: service_healthy}}", "services.a.depends_on.b"),
        ("links: ['b:other']", "services.a.links[0]"),
        ("network_mode: 'service:b'", "services.a.network_mode"),
    ],
)
def test_a_dependency_has_to_be_there_and_on(keys: str, key: str) -> None:
    assert selected(two(keys), "a")
    for off in (two(keys, "profiles: [p]"), f"services: {{a: {{image: x, {keys}}}}}"):
        assert refused(off).key == key


def test_a_dependency_that_is_not_required_may_be_off_but_not_undeclared() -> None:
    keys = "depends_on: {b: {condition: service_started, required: false}}"
    assert list(selected(two(keys, "profiles: [p]"), "a").services) == ["a"]
    assert refused(f"services: {{a: {{image: x, {keys}}}}}").key == "services.a.depends_on.b"


def test_services_with_a_scale_of_0_are_not_started() -> None:
    text = two("depends_on: [b]", "scale: 0")
    assert list(selected(text, "a").services) == ["a"]
    assert list(selected(two("scale: 0"), "a").services) == ["a", "b"], "the agent's is started all the same"
    assert refused(two("network_mode: 'service:b'", "deploy: {replicas: 0}")).key == "services.a.network_mode"


@pytest.mark.parametrize(
    ("a", "b", "key", "cycle"),
    [
        ("depends_on: [a]", "", "services.a.depends_on[0]", "a needs a"),
        ("depends_on: [b]", "depends_on: [a]", "services.a.depends_on[0]", "a needs b needs a"),
        ("links: [b]", "network_mode: 'service:a'", "services.a.links[0]", "a needs b needs a"),
        ("network_mode: 'service:b'", "links: ['a:x']", "services.a.network_mode", "a needs b needs a"),
        ("", "depends_on: [b]", "services.b.depends_on[0]", "b needs b"),
    ],
)
def test_a_cycle_is_shown(a: str, b: str, key: str, cycle: str) -> None:
    problem = refused(two(a, b))
    assert problem.key == key
    assert f": {cycle};" in problem.what


def test_a_cycle_of_services_that_are_off_is_one_as_well() -> None:
    text = "services: {a: {image: x}, b: {image: x, profiles: [p], depends_on: [b]}}"
    assert refused(text).key == "services.b.depends_on[0]"


def test_a_long_chain_takes_no_recursion_and_a_ladder_no_time() -> None:
    chain = ", ".join(f"s{n}: {{image: x, depends_on: [s{n + 1}]}}" for n in range(490))
    assert len(selected(f"services: {{{chain}, s490: {{image: x}}}}", "s0").services) == 491
    ladder = ", ".join(f"s{n}: {{image: x, depends_on: [s{n + 1}, s{n + 2}]}}" for n in range(60))
    whole = stack(f"services: {{{ladder}, s60: {{image: x}}, s61: {{image: x}}}}")
    backwards = dataclasses.replace(whole, services=dict(reversed(list(whole.services.items()))))
    for each in (whole, backwards):
        began = time.perf_counter()
        assert len(select(each, (), "s0").services) == 62
        assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("keys", "rest", "key"),
    [
        ("networks: [n]", "", "services.a.networks[0]"),
        ("networks: {n: {aliases: [c]}}", "", "services.a.networks.n"),
        ("volumes: ['data:/d']", "", "services.a.volumes[0]"),
        ("volumes: [./x:/x, 'data:/d']", "volumes: {other: }", "services.a.volumes[1]"),
        ("secrets: [s]", "", "services.a.secrets[0]"),
    ],
)
def test_what_is_not_declared(keys: str, rest: str, key: str) -> None:
    assert refused(two(keys, rest=rest)).key.startswith(key)


def test_services_that_are_off_may_name_what_is_not_declared() -> None:
    assert selected(two(b="profiles: [p], volumes: ['data:/d'], networks: [n], depends_on: [gone]"), "a")


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("container_name: a_b", None),
        ("container_name: bb", None),
        ("container_name: a1", "services.b.container_name"),
        ("container_name: name", "services.b.container_name"),
        ("networks: {default: {aliases: [x, a1]}}", "services.b.networks.default.aliases[1]"),
        ("networks: {default: {aliases: [name]}}", "services.b.networks.default.aliases[0]"),
        ("networks: {default: {aliases: [shared]}}", None),
        ("profiles: [p], container_name: a1", None),
    ],
)
def test_no_service_takes_the_name_of_another(keys: str, key: str | None) -> None:
    text = (
        "services: {a1: {image: x, container_name: name, networks: {default: {aliases: [shared]}}}, "
        f"b: {{image: x, {keys}}}}}"
    )
    if key is None:
        assert selected(text, "a1")
    else:
        assert refused(text, "a1").key == key


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("80:80", "80:81", True),
        ("127.0.0.1:80:80", "80:80", True),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", False),
        ("80:80/udp", "80:80", False),
        ("80", "80", False),
        ("80-90:80", "80:80", False),
    ],
)
def test_a_port_of_the_node_is_asked_for_once(one: str, other: str, clash: bool) -> None:
    text = two(f"ports: ['{one}']", f"ports: ['{other}']")
    if clash:
        assert refused(text).key == "services.b.ports[0]"
        assert selected(two(f"ports: ['{one}']", f"profiles: [p], ports: ['{other}']"), "a")
    else:
        assert selected(text, "a")


def test_a_stack_has_bounds() -> None:
    def networks(count: int) -> str:
        names = [f"n{n}" for n in range(count)]
        return two(f"networks: [{', '.join(names)}]", rest=f"networks: {{{', '.join(f'{n}: {{}}' for n in names)}}}")

    def volumes(count: int) -> str:
        half = [f"/v{n}" for n in range(count // 2)]
        return two(*(f"volumes: [{', '.join(those)}]" for those in (half, half[: count - count // 2])))

    assert selected(networks(MOST_NETWORKS - 1), "a")
    assert refused(networks(MOST_NETWORKS + 1)).key == f"services.a.networks[{MOST_NETWORKS}]"
    assert selected(volumes(MOST_VOLUMES), "a")
    assert refused(volumes(MOST_VOLUMES + 2)).key == f"services.b.volumes[{MOST_VOLUMES // 2 - 1}]"
    memory = [f"/v{n}" for n in range(MOST_MOUNTS + 1)]
    assert refused(two(f"tmpfs: [{', '.join(memory)}]")).key == f"services.a.tmpfs[{MOST_MOUNTS}]"
