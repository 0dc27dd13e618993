"""compose/document/canonical.py: short forms become long ones, and everything keeps the place it was written at."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.compose.document import canonical
from stromboli.compose.document.node import Node
from stromboli.compose.problem import Mark
from stromboli.compose.typed.places import Places
from stromboli.errors import ComposeProblem
from tests.support.compose_documents import parsed, plain

AT = ("services", "db")


def service(text: str) -> Node:
    return canonical.service(parsed(text), AT)


LONG: dict[str, Any] = {
    "image: x": {"image": "x"},
    "environment: [A=1, B=, C, D=a=b]": {"environment": {"A": "1", "B": "", "C": None, "D": "a=b"}},
    "environment: {A: 1, B: , C: true}": {"environment": {"A": 1, "B": None, "C": True}},
    "environment: [A=1, B=2, A=3]": {"environment": {"A": "3", "B": "2"}},
    "environment:": {"environment": None},
    "labels: [a=b, c]": {"labels": {"a": "b", "c": None}},
    "annotations: [a=b]": {"annotations": {"a": "b"}},
    "sysctls: [a=1]": {"sysctls": {"a": "1"}},
    "build: ./x": {"build": {"context": "./x"}},
    "build: {args: [A, B=1], labels: [c=d], tags: [t, t], additional_contexts: [e=./f]}": {
        "build": {
            "args": {"A": None, "B": "1"},
            "labels": {"c": "d"},
            "tags": ["t"],
            "additional_contexts": {"e": "./f"},
        }
    },
    "command: a 'b c'": {"command": ["a", "b c"]},
    "command: ''": {"command": []},
    "command: []": {"command": []},
    "command:": {"command": None},
    "command: [a, b c]": {"command": ["a", "b c"]},
    "entrypoint: x y": {"entrypoint": ["x", "y"]},
    "depends_on: [a, b]": {
        "depends_on": {
            "a": {"condition": "service_started", "required": True},
            "b": {"condition": "service_started", "required": True},
        }
    },
    "depends_on: {a: {condition: service_healthy}}": {"depends_on": {"a": {"condition": "service_healthy"}}},
    "networks: [a, b]": {"networks": {"a": None, "b": None}},
    "networks: []": {"networks": {}},
    "networks: {a: {aliases: [x]}}": {"networks": {"a": {"aliases": ["x"]}}},
    "env_file: a.env": {"env_file": [{"path": "a.env"}]},
    "env_file: [a.env, {path: b.env, required: false}, a.env]": {
        "env_file": [{"path": "a.env"}, {"path": "b.env", "required": False}]
    },
    "extends: x": {"extends": {"service": "x"}},
    "extends: {service: x, file: y}": {"extends": {"service": "x", "file": "y"}},
    "extra_hosts: ['a=1.2.3.4', 'b:[::1]', 'a=1.2.3.5', 'a:1.2.3.4']": {
        "extra_hosts": [
            {"host": "a", "address": "1.2.3.4"},
            {"host": "b", "address": "::1"},
            {"host": "a", "address": "1.2.3.5"},
        ]
    },
    "extra_hosts: {a: 1.2.3.4, b: [1.2.3.5, 1.2.3.6]}": {
        "extra_hosts": [
            {"host": "a", "address": "1.2.3.4"},
            {"host": "b", "address": "1.2.3.5"},
            {"host": "b", "address": "1.2.3.6"},
        ]
    },
    "healthcheck: {test: pg_isready -U x, retries: 3}": {
        "healthcheck": {"test": ["CMD-SHELL", "pg_isready -U x"], "retries": 3}
    },
    "healthcheck: {test: NONE}": {"healthcheck": {"test": ["CMD-SHELL", "NONE"]}},
    "healthcheck: {test: [CMD, x]}": {"healthcheck": {"test": ["CMD", "x"]}},
    "ports: [80, '81:82', '90-91', {target: 5}]": {
        "ports": [
            {"target": 80, "protocol": "tcp"},
            {"target": 82, "published": "81", "protocol": "tcp"},
            {"target": 90, "protocol": "tcp"},
            {"target": 91, "protocol": "tcp"},
            {"target": 5},
        ]
    },
    "ports: ['80:80', '0.0.0.0:80:80', '81:80', '80:80/udp', {target: 80, published: 80}]": {
        "ports": [
            {"target": 80, "published": 80},
            {"target": 80, "published": "81", "protocol": "tcp"},
            {"target": 80, "published": "80", "protocol": "udp"},
        ]
    },
    "secrets: [a, {source: b, target: /x}, {source: c, target: a}]": {
        "secrets": [{"source": "c", "target": "a"}, {"source": "b", "target": "/x"}]
    },
    "tmpfs: /t": {"tmpfs": ["/t"]},
    "tmpfs: [/t, /u, /t]": {"tmpfs": ["/t", "/u"]},
    "ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}": {
        "ulimits": {"nproc": {"soft": 5, "hard": 5}, "nofile": {"soft": 1, "hard": 2}}
    },
    "volumes: ['.:/w', 'data:/d/:ro', /anon, 'data:/e:nocopy']": {
        "volumes": [
            {"type": "bind", "source": ".", "target": "/w"},
            {"type": "volume", "source": "data", "target": "/d", "read_only": True},
            {"type": "volume", "target": "/anon"},
            {"type": "volume", "source": "data", "target": "/e", "volume": {"nocopy": True}},
        ]
    },
    "volumes: ['a1:/w', 'b1:/x', {type: bind, source: c, target: /w/., bind: {create_host_path: false}}]": {
        "volumes": [
            {"type": "bind", "source": "c", "target": "/w", "bind": {"create_host_path": False}},
            {"type": "volume", "source": "b1", "target": "/x"},
        ]
    },
    "cap_add: [A, B, A]": {"cap_add": ["A", "B"]},
    "expose: [80, '80', 81]": {"expose": ["80", 81]},
    "profiles: [a, a]": {"profiles": ["a"]},
    "links: ['db:x', db]": {"links": ["db:x", "db"]},
    "deploy: {labels: [a=b], replicas: 1}": {"deploy": {"labels": {"a": "b"}, "replicas": 1}},
    "dns: 1.1.1.1": {"dns": "1.1.1.1"},
    "security_opt: [a, a]": {"security_opt": ["a", "a"]},
}


@pytest.mark.parametrize(("text", "expected"), LONG.items())
def test_long(text: str, expected: Any) -> None:
    assert plain(service(text)) == expected


@pytest.mark.parametrize("text", LONG)
def test_it_is_done_once(text: str) -> None:
    once = service(text)
    assert canonical.service(once, AT) == once


BAD = {
    "environment: x": ("environment", "must be a mapping, or a list of KEY=VALUE"),
    "environment: [A=1, 5]": ("environment[1]", "must be a text: KEY=VALUE"),
    "environment: [{A: 1}]": ("environment[0]", "must be a text: KEY=VALUE"),
    "environment: [2020-01-01]": ("environment[0]", "must be a text: KEY=VALUE"),
    "environment: [=x]": ("environment[0]", "has no name"),
    "environment: [A=1, '']": ("environment[1]", "has no name"),
    "labels: 5": ("labels", "must be a mapping, or a list of KEY=VALUE"),
    "build: [a]": ("build", "must be a mapping with keys such as context, or the path of a folder"),
    "build: {args: x}": ("build.args", "must be a mapping, or a list of KEY=VALUE"),
    "build: {args: [A=1, {}]}": ("build.args[1]", "must be a text"),
    "cap_add: ALL": ("cap_add", "must be a list of capabilities"),
    "command: a && b": ("command", "has an unquoted &&"),
    'entrypoint: "\'a"': ("entrypoint", "has a ' without its end"),
    "depends_on: db": ("depends_on", "must be a mapping or a list of services"),
    "depends_on: [db, 5]": ("depends_on[1]", "must be a name"),
    "networks: [{a: b}]": ("networks[0]", "must be a name"),
    "env_file: 5": ("env_file", "must be a list of files"),
    "extra_hosts: x": ("extra_hosts", "must be a mapping of names to addresses"),
    "extra_hosts: [a=1.2.3.4, b=c]": ("extra_hosts[1]", '"c" is not an IP address'),
    "extra_hosts: [5]": ("extra_hosts[0]", "must be a text"),
    "extra_hosts: {a: 5}": ("extra_hosts.a", "must be a text"),
    "extra_hosts: {a: }": ("extra_hosts.a", "must be a text"),
    "extra_hosts: {a: [1.2.3.4, x]}": ("extra_hosts.a", '"x" is not an IP address'),
    "extra_hosts: {a b: 1.2.3.4}": ('extra_hosts["a b"]', "is not the name of a host"),
    "healthcheck: x": ("healthcheck", "must be a mapping with keys such as test and interval"),
    "ports: 80": ("ports", "must be a list of ports"),
    "ports: [80, true]": ("ports[1]", "must be a port"),
    "ports: [8.5]": ("ports[0]", "must be a port"),
    "ports: [-1]": ("ports[0]", "is not a port"),
    "ports: ['80:x']": ("ports[0]", "is not a port"),
    "ports: ['1-2000', '1-2000', '2001-4000', '4001-6000']": ("ports", "has more than 5000 ports"),
    "secrets: s": ("secrets", "must be a list of secrets"),
    "ulimits: [5]": ("ulimits", "must be a mapping of limits"),
    "volumes: {a: b}": ("volumes", "must be a list of volumes"),
    "volumes: [./a:/b, 5]": ("volumes[1]", "must be a text such as ./data:/data"),
    "volumes: [./a:/b:x]": ("volumes[0]", 'the option "x" is not supported'),
    "deploy: x": ("deploy", "must be a mapping"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.items())
def test_bad(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ComposeProblem) as refused:
        service(f"# in line 2\n{text}")
    assert refused.value.key == f"services.db.{expected[0]}"
    assert expected[1] in refused.value.what
    assert refused.value.where == "compose.yaml:2"


def test_a_service_is_a_mapping() -> None:
    with pytest.raises(ComposeProblem, match=r"services\.db: must be a mapping with keys such as image"):
        canonical.service(Node("x", Mark("f", 1)), AT)
    assert canonical.service(Node(None, Mark("f", 1)), AT).value is None


def test_top() -> None:
    root = canonical.top(
        parsed(
            """
            volumes: {a: , b: {labels: [x=y]}}
            networks: {n: {labels: [x]}}
            services: {s: {ports: [80]}}
            """
        )
    )
    assert plain(root) == {
        "volumes": {"a": None, "b": {"labels": {"x": "y"}}},
        "networks": {"n": {"labels": {"x": None}}},
        "services": {"s": {"ports": [80]}},
    }
    for text, at in {
        "services: [a]": "services",
        "services: 5": "services",
        "volumes: [a]": "volumes",
        "volumes: {a: b}": "volumes.a",
        "networks: {a: {labels: 5}}": "networks.a.labels",
    }.items():
        with pytest.raises(ComposeProblem) as refused:
            canonical.top(parsed(text))
        assert refused.value.key == at


WRITTEN = {
    ("depends_on: [a, b]", ("depends_on", "b", "condition")): "depends_on[1].condition",
    ("labels: [a=b, c=d]", ("labels", "c")): "labels[1]",
    ("labels: {a: b}", ("labels", "a")): "labels.a",
    ("sysctls: [a=b]", ("sysctls", "a")): "sysctls[0]",
    ("networks: [a, b]", ("networks", "b")): "networks[1]",
    ("volumes: ['a1:/w', 'b1:/x', 'c1:/w']", ("volumes", 0)): "volumes[2]",
    ("volumes: ['a1:/w', 'b1:/x', 'c1:/w']", ("volumes", 1, "source")): "volumes[1].source",
    ("ports: ['80-81', 90]", ("ports", 1)): "ports[0]",
    ("ports: ['80-81', 90]", ("ports", 2, "target")): "ports[1].target",
    ("extra_hosts: [a=1.2.3.4, b=1.2.3.5]", ("extra_hosts", 1)): "extra_hosts[1]",
    ("extra_hosts: {a: [1.2.3.4, 1.2.3.5]}", ("extra_hosts", 1)): "extra_hosts.a",
    ("cap_add: [A, A, B]", ("cap_add", 1)): "cap_add[2]",
    ("image: x", ("image",)): "image",
    ("image: x", ("image", "y", 0)): "image.y[0]",
    ("command: a b", ("command", 1)): "command[1]",
}


@pytest.mark.parametrize(("place", "expected"), WRITTEN.items())
def test_places_as_they_were_written(place: tuple[str, tuple[str | int, ...]], expected: str) -> None:
    text, path = place
    assert Places(service(text)).at(*path) == expected


def test_parts_have_the_line_that_they_come_from() -> None:
    found = service("# comment\nvolumes:\n  - ./a:/b\n  - ./c:/d\ndepends_on:\n  - x\n")
    assert str(_at(found, "volumes", 1, "source").mark) == "compose.yaml:4"
    assert str(_at(found, "depends_on", "x", "condition").mark) == "compose.yaml:6"


def _at(node: Node, *path: str | int) -> Node:
    found = node.at(path)
    assert found is not None
    return found
