"""Networks, namespaces, hosts and ports of a stack's containers."""

from __future__ import annotations

from typing import Any

from stromboli.compose.stack import HOST_GATEWAY, Attachment, ExtraHost, Port
from stromboli.plan.stack import names
from stromboli.plan.stack.networking import Networking, networking
from tests.unit.plan.stack.stacks import service, stack

UID = "7f1c2c2e-0000-4000-8000-000000000001"
DEFAULT = names.network(UID, "default")


def of(*services: Any, publish: bool = False) -> Networking:
    return networking(UID, stack(*services), publish=publish, node="10.89.0.1")


def test_a_service_is_on_its_networks_by_its_names() -> None:
    found = of(service("db", networks={"back": Attachment("n", ("pg",)), "front": Attachment("n")}))
    assert found.services["db"] == {
        "netns": {"nsmode": "bridge"},
        "Networks": {
            names.network(UID, "back"): {"aliases": ["db", "pg"]},
            names.network(UID, "front"): {"aliases": ["db"]},
        },
    }
    assert found.holders == {}


def test_no_network_and_the_node_s() -> None:
    found = of(service("a", network_mode="none", extra_hosts=(ExtraHost("e", "x", "1.2.3.4"),)))
    assert found.services["a"] == {"netns": {"nsmode": "none"}}
    assert of(service("a", network_mode="host")).services["a"] == {"netns": {"nsmode": "host"}}


def test_ports_are_published_only_if_that_is_allowed() -> None:
    one = service("a", ports=(Port("p", 80, host=8080, address="127.0.0.1"), Port("p", 53, "udp")))
    assert "portmappings" not in of(one).services["a"]
    assert of(one, publish=True).services["a"]["portmappings"] == [
        {"container_port": 80, "host_port": 8080, "protocol": "tcp", "host_ip": "127.0.0.1"},
        {"container_port": 53, "host_port": 0, "protocol": "udp"},
    ]


def test_of_a_range_each_service_gets_a_port_of_its_own() -> None:
    found = of(
        *(service(name, ports=(Port("p", 80, host=8000, host_last=8003),)) for name in "abc"),
        service("d", ports=(Port("p", 81, host=8001), Port("p", 82, "udp", host=8000, host_last=8001))),
        publish=True,
    )
    ports = {name: [one["host_port"] for one in body["portmappings"]] for name, body in found.services.items()}
    assert ports == {"a": [8000], "b": [8002], "c": [8003], "d": [8001, 8000]}
    full = of(*(service(name, ports=(Port("p", 80, host=8000, host_last=8000),)) for name in "ab"), publish=True)
    assert [one["portmappings"][0]["host_port"] for one in full.services.values()] == [8000, 8000], "Podman refuses it"


def test_hosts() -> None:
    one = service("a", extra_hosts=(ExtraHost("e", "x", "::1"), ExtraHost("e", "host.docker.internal", HOST_GATEWAY)))
    assert of(one).services["a"]["hostadd"] == ["x:::1", "host.docker.internal:10.89.0.1"]


def test_a_holder_has_what_all_who_share_its_namespace_ask_for() -> None:
    found = of(
        service("app", network_mode="service:db", extra_hosts=(ExtraHost("e", "x", "1.1.1.1"),)),
        service("db", ports=(Port("p", 5432),), extra_hosts=(ExtraHost("e", "x", "1.1.1.1"),)),
        service("side", network_mode="service:app", ports=(Port("p", 80),)),
        service("other"),
        publish=True,
    )
    joining = {"netns": {"nsmode": "container", "value": f"stromboli-{UID}-ns-db"}}
    assert {name: found.services[name] for name in ("app", "db", "side")} == dict.fromkeys(
        ("app", "db", "side"), joining
    )
    assert found.services["other"]["Networks"] == {DEFAULT: {"aliases": ["other"]}}
    assert found.holders == {
        "db": {
            "netns": {"nsmode": "bridge"},
            "Networks": {DEFAULT: {"aliases": ["db"]}},
            "hostadd": ["x:1.1.1.1"],
            "portmappings": [
                {"container_port": 5432, "host_port": 0, "protocol": "tcp"},
                {"container_port": 80, "host_port": 0, "protocol": "tcp"},
            ],
        }
    }
