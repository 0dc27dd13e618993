"""What the agent's service adds to the run's own container."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stromboli import naming
from stromboli.compose import stack
from stromboli.compose.stack import Anonymous, Bind, Capability, ImageMount, Named, Service, Tmpfs, Ulimit
from stromboli.models.fields import Resources
from stromboli.plan import container
from stromboli.plan import request as requests
from stromboli.plan.container import Body, Identity, Place
from stromboli.plan.stack import agent, definitions, mounts, names
from stromboli.plan.stack.agent import Part
from stromboli.plan.stack.networking import networking
from tests.support.builders import effective, policy, spec
from tests.unit.plan.stack import stacks
from tests.unit.plan.stack.bodies import FOUND, NODE, UID

OPEN = effective(policy(volumes={"allowed": [{"path": "/srv"}]}))
PLACE = Place("/h/attempt", "/h/secret", "/h/cli", None, f"stromboli-{UID}", "stromboli-net")
LABELS = {"stromboli.dev/owner": UID}


def service(**fields: Any) -> Service:
    return stacks.service("dev", **fields)


def part(one: Service, image: str = "python:3.12", internal: bool = False) -> Part:
    network = networking(UID, stacks.stack(one), publish=False, node="10.89.0.1").services["dev"]
    return agent.part(
        one,
        image=image,
        mounts=mounts.resolve(UID, one, (), FOUND),
        network=network,
        internal=dict.fromkeys(network.get("Networks", {}), internal),
        ulimits=NODE,
    )


def ordinary(**fields: Any) -> Body:
    wanted = requests.build(spec(**fields), OPEN)
    return container.body(
        wanted,
        name=f"stromboli-{UID}",
        image_id="f00d",
        identity=Identity(1000, 1000),
        place=PLACE,
        volumes=wanted.volumes,
        labels=LABELS,
        longest=wanted.timeout,
    )


def test_a_plain_service_changes_the_network_only() -> None:
    before, added = ordinary(), part(service())
    after = agent.extended(before, added)
    assert after.pop("Networks") == {names.network(UID, "default"): {"aliases": ["dev"]}}
    assert after.pop("labels") == {**LABELS, naming.DEFINITION: definitions.to_label(added.definition)}
    assert (after.pop("env"), after.pop("unsetenv")) == ({}, [])
    assert (after.pop("r_limits"), after.pop("image_volumes"), after.pop("read_only_filesystem")) == ([], [], False)
    assert after == {key: value for key, value in before.items() if key not in ("Networks", "labels")}


def test_what_belongs_to_the_run_stays_the_run_s() -> None:
    one = service(
        command=("x",),
        entrypoint=("y",),
        init=True,
        restart="always",
        stop_signal="SIGKILL",
        stop_grace_period=1.0,
        healthcheck=stack.HealthCheck(("CMD", "x")),
        working_dir="/app",
        user="root",
        labels={naming.OWNER: "other"},
    )
    before = ordinary()
    after = agent.extended(before, part(one))
    for key in ("entrypoint", "command", "user", "work_dir", "stop_signal", "timeout", "healthconfig", "name", "image"):
        assert after[key] == before[key], key
    assert "init" not in after
    assert "stop_timeout" not in after
    assert after["labels"][naming.OWNER] == UID


def test_what_the_service_says() -> None:
    one = service(
        environment={"DB": "db"},
        unset=frozenset({"LANG"}),
        hostname="box",
        read_only=True,
        cap_drop=(Capability("c", "ALL"),),
        ulimits={"nofile": Ulimit(10, 20)},
        limits=stack.Limits(shm_size=64),
        labels={"team": "a"},
        network_mode="none",
    )
    after = agent.extended(ordinary(), part(one))
    assert (after["env"], after["unsetenv"], after["hostname"]) == ({"DB": "db"}, ["LANG"], "box")
    assert (after["read_only_filesystem"], after["cap_drop"], after["shm_size"]) == (True, ["ALL"], 64)
    assert after["r_limits"][0] == {"type": "nofile", "soft": 10, "hard": 20}
    assert after["labels"]["team"] == "a"
    assert after["netns"] == {"nsmode": "none"}
    assert "Networks" not in after


def test_mounts_are_added_and_the_run_s_own_win() -> None:
    one = service(
        mounts=(
            Bind("m", "/srv/app", "/workspace"),
            Named("m", "cache", "/cache"),
            Anonymous("m", "/workspace/node_modules"),
            Tmpfs("m", "/tmp"),
            ImageMount("m", "tools:1", "/tools"),
        )
    )
    plain = agent.extended(ordinary(), part(one))
    places = {mount["destination"]: mount["source"] for mount in plain["mounts"]}
    assert places["/workspace"] == "/data/app"
    assert {naming.PLAN, naming.CLI_MOUNT, naming.HANDED, naming.MANAGED} <= set(places)
    assert [volume["Dest"] for volume in plain["volumes"]] == [naming.SESSION, "/cache", "/workspace/node_modules"]
    assert plain["image_volumes"] == [{"Source": "beef", "Destination": "/tools", "ReadWrite": False}]
    own = agent.extended(ordinary(volumes=["/srv/own:/workspace", "/srv/c:/cache", "/srv/t:/tools"]), part(one))
    assert {mount["destination"]: mount["source"] for mount in own["mounts"]}["/workspace"] == "/srv/own"
    assert [volume["Dest"] for volume in own["volumes"]] == [naming.SESSION, "/workspace/node_modules"]
    assert own["image_volumes"] == []
    for body in (plain, own):
        targets = [one["destination"] for one in body["mounts"]] + [one["Dest"] for one in body["volumes"]]
        assert len(targets) == len(set(targets))


def test_nothing_that_was_put_in_is_changed() -> None:
    before, added = ordinary(), part(service(mounts=(Anonymous("m", "/x"),)))
    kept = repr((before, added))
    agent.extended(before, added)
    assert repr((before, added)) == kept


@pytest.mark.parametrize(
    ("resources", "limits", "memory", "cpus", "pids"),
    [
        ({}, stack.Limits(), None, None, 2048),
        ({}, stack.Limits(memory=1 << 30, cpus=500, pids=9), 1 << 30, 500, 9),
        ({"memory": "64Mi", "cpus": 2, "pids": 50}, stack.Limits(memory=1, cpus=1, pids=1), 64 << 20, 2000, 50),
        ({"cpus": 2}, stack.Limits(memory=1 << 30, cpus=1), 1 << 30, 2000, 2048),
    ],
)
def test_resources_of_the_run_win_over_the_service_s(
    resources: dict[str, Any], limits: stack.Limits, memory: int | None, cpus: int | None, pids: int
) -> None:
    stated = spec(resources=resources)
    asked = requests.build(stated, OPEN)
    found = agent.request(asked, stated.resources, service(limits=limits))
    assert (found.memory, found.cpus, found.pids) == (memory, cpus, pids)
    assert agent.request(asked, Resources(**resources) if resources else None, service(limits=limits)) == found


def test_a_default_of_a_policy_gives_way_to_the_service() -> None:
    under = effective(policy(defaults={"memory": "1Gi", "cpus": "1"}))
    asked = requests.build(spec(), under)
    found = agent.request(asked, None, service(limits=stack.Limits(memory=64 << 20)))
    assert (found.memory, found.cpus) == (64 << 20, 1000)


def test_the_working_directory() -> None:
    asked = requests.build(spec(), OPEN)
    assert agent.request(asked, None, service(working_dir="/app")).workdir == "/app"
    assert agent.request(replace(asked, workdir="/own"), None, service(working_dir="/app")).workdir == "/own"
    assert agent.request(asked, None, service()).workdir is None


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, ""),
        ({"command": ("x",), "restart": "always", "init": True, "stop_signal": "SIGINT"}, ""),
        ({"healthcheck": stack.HealthCheck(("CMD", "x"))}, ""),
        ({"environment": {"A": "1"}}, "its environment changed"),
        ({"user": "x"}, "its user changed"),
        ({"working_dir": "/x"}, "its command changed"),
        ({"mounts": (Tmpfs("m", "/x"),)}, "its mounts changed"),
        ({"limits": stack.Limits(memory=1)}, "its limits changed"),
        ({"network_mode": "none"}, "its network changed"),
    ],
)
def test_what_makes_a_new_container(fields: dict[str, Any], what: str) -> None:
    assert definitions.changes(part(service()).definition, part(service(**fields)).definition) == what


def test_another_image_or_network_makes_a_new_container() -> None:
    plain = part(service()).definition
    assert definitions.changes(plain, part(service(), "python:3.13").definition) == "its image changed"
    assert definitions.changes(plain, part(service(), internal=True).definition) == "its network changed"
