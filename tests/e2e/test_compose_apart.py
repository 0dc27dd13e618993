"""Stacks of different sessions do not meet, whatever the network of the policy; with network none there is no way out.

Each session brings up the same file. Its agents and services try the names and the addresses of the other one's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stromboli.node.stacks import host as node
from tests.support import lookups, services, stacked
from tests.support.host import Host
from tests.support.runs import Runs
from tests.support.sessions import idle

AGENT = "localhost/stromboli-test/workbench:1"
FILE = f"""
services:
  app: {{image: "{AGENT}", depends_on: [db]}}
  db: {{image: "redis:7", container_name: only-one, volumes: ["rows:/data"], command: redis-server --appendonly yes}}
volumes: {{rows: {{name: the-same}}}}
"""
TRIED = 3  # seconds


@pytest.fixture(scope="module", autouse=True)
def images(podman_env: dict[str, str]) -> None:
    for name in ("workbench", "redis"):
        services.build(name, podman_env)


@pytest.fixture(scope="module", params=["bridge", "none"])
def space(request: pytest.FixtureRequest, spaces: Callable[..., Runs], light_spec: dict[str, Any]) -> Runs:
    """A namespace whose policy has this network."""
    space = spaces(f"compose-apart-{request.param}", own=True)
    space.policy("light", **light_spec | {"network": request.param})
    return space


@pytest.fixture(scope="module")
def outside() -> Iterator[str]:
    """A server at an address of this node that is not one of Podman's, as `HOST/PORT`."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield f"{node._address()}/{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def sides(space: Runs) -> dict[str, str]:
    """Two sessions with the same file, each with data of its own → their UIDs."""
    with ThreadPoolExecutor(2) as pool:
        shell = "redis-cli -h db SET whose {} && redis-cli -h only-one GET whose"
        specs = {side: stacked.spec(shell.format(side), {"inline": FILE}, side) for side in ("left", "right")}
        said = dict(zip(specs, pool.map(lambda side: stacked.go(space, side, specs[side]), specs), strict=True))
    assert {side: said[side].splitlines()[-1].split()[-1] for side in said} == {"left": "left", "right": "right"}
    return {side: idle(space, side)["metadata"]["uid"] for side in specs}


def reaches(address: str) -> str:
    """A shell command that says whether a TCP connection to `HOST/PORT` is possible."""
    return f"timeout {TRIED} bash -c '</dev/tcp/{address}' 2>/dev/null && echo {address} open || echo {address} shut"


def reaches_by_name(address: str) -> str:
    """The same for one that has to be reachable, and that is looked up by Podman's name server."""
    return lookups.repeated(f"{reaches(address)} | grep open")


def test_an_agent_reaches_its_own_database_alone(space: Runs, sides: dict[str, str], host: Host) -> None:
    own, theirs = (stacked.containers(host, sides[side])["db"] for side in ("left", "right"))
    mine, other = (f"{stacked.address(host, each['Id'])}/6379" for each in (own, theirs))
    names = [theirs["Names"][0], theirs["Id"][:12], "right-db"]
    shell = "; ".join(
        (
            "redis-cli -h db GET whose",
            reaches(mine),
            reaches(other),
            *(f"getent hosts {name} || echo no {name}" for name in names),
        )
    )
    said = stacked.go(space, "looks", stacked.spec(shell, {"inline": FILE}, "left"))
    assert "left\n" in said
    assert f"{mine} open\n{other} shut\n" in said
    assert said.endswith("\n".join(f"no {name}" for name in names))


def test_a_service_reaches_none_of_another_stack(space: Runs, sides: dict[str, str], host: Host) -> None:
    own, theirs = (stacked.containers(host, sides[side])["db"] for side in ("left", "right"))
    other = f"{stacked.address(host, theirs['Id'])}/6379"
    shell = f"{reaches_by_name('db/6379')}; {reaches(other)}; getent hosts {theirs['Names'][0]} || echo no name"
    said = host.podman.run("exec", own["Id"], "bash", "-c", shell)
    assert said.splitlines() == ["db/6379 open", f"{other} shut", "no name"]


def test_a_run_without_a_stack_reaches_none(space: Runs, sides: dict[str, str], host: Host) -> None:
    theirs = stacked.containers(host, sides["left"])["db"]
    other = f"{stacked.address(host, theirs['Id'])}/6379"
    shell = "; ".join((reaches(other), "getent hosts db || echo no db", "getent hosts only-one || echo no only-one"))
    said = stacked.go(space, "ordinary", {"prompt": f"BASH{{{shell}}}", "image": AGENT})
    assert said.endswith(f"{other} shut\nno db\nno only-one")


def test_a_way_out_is_there_only_if_the_policy_has_a_network(
    space: Runs, sides: dict[str, str], host: Host, outside: str
) -> None:
    expected = "open" if space.namespace.endswith("bridge") else "shut"
    said = stacked.go(space, "goes-out", stacked.spec(reaches(outside), {"inline": FILE}, "left"))
    assert said.endswith(f"{outside} {expected}")
    database = stacked.containers(host, sides["left"])["db"]["Id"]
    assert host.podman.run("exec", database, "bash", "-c", reaches(outside)) == f"{outside} {expected}"


def test_nothing_has_the_names_of_the_file(space: Runs, sides: dict[str, str], host: Host) -> None:
    taken = [name for one in host.containers() for name in one["Names"]] + host.volumes() + host.networks()
    assert not {"db", "app", "only-one", "rows", "the-same", "default"} & set(taken)
    space.kubectl("-n", space.namespace, "delete", "agentruns,agentsessions", "--all")
    for uid in sides.values():
        stacked.await_gone(host, uid)
