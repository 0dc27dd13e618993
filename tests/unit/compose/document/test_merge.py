"""compose/document/merge.py: Compose's rules, key by key, and what holds for all trees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.compose.document import canonical, merge
from stromboli.compose.document.node import Node
from stromboli.compose.problem import Mark
from stromboli.compose.typed.places import Places
from stromboli.errors import ComposeProblem
from tests.support.compose_documents import parsed, plain

AT = ("services", "db")


def service(text: str, file: str = "compose.yaml") -> Node:
    return canonical.service(parsed(text, file), AT)


def merged(base: str, over: str) -> Node:
    return merge.service(service(base), service(over, "overlay.yaml"), AT)


STARTED = {"condition": "service_started", "required": True}

RULES: dict[tuple[str, str], Any] = {
    ("image: a", "image: b"): {"image": "b"},
    ("image: a", "image:"): {"image": "a"},
    ("image:", "image: b"): {"image": "b"},
    ("image: a", "user: u"): {"image": "a", "user": "u"},
    ("environment: [A=1, B=2, C]", "environment: {B: 3, D: 4}"): {"environment": {"A": "1", "B": 3, "C": None, "D": 4}},
    ("environment: {A: 1}", "environment: [A]"): {"environment": {"A": None}},
    ("environment: {A: 1}", "environment:"): {"environment": {"A": 1}},
    ("environment:", "environment: {A: 1}"): {"environment": {"A": 1}},
    ("labels: [a=1]", "labels: {a: }"): {"labels": {"a": None}},
    ("annotations: [a=1]", "annotations: [a=2]"): {"annotations": {"a": "2"}},
    ("sysctls: {a: 1}", "sysctls: [a=2, b=3]"): {"sysctls": {"a": "2", "b": "3"}},
    ("command: a b", "command: c"): {"command": ["c"]},
    ("command: a b", "command:"): {"command": None},
    ("command: a b", "command: []"): {"command": []},
    ("entrypoint: [a, b]", "entrypoint: [c]"): {"entrypoint": ["c"]},
    ("healthcheck: {test: a, interval: 5s}", "healthcheck: {test: [CMD, b], retries: 2}"): {
        "healthcheck": {"test": ["CMD", "b"], "interval": "5s", "retries": 2}
    },
    ("depends_on: [a]", "depends_on: {a: {condition: service_healthy}, b: {condition: service_started}}"): {
        "depends_on": {
            "a": {"condition": "service_healthy", "required": True},
            "b": {"condition": "service_started"},
        }
    },
    ("depends_on: {a: {condition: service_healthy, restart: true}}", "depends_on: [a, c]"): {
        "depends_on": {"a": {**STARTED, "restart": True}, "c": STARTED}
    },
    ("networks: [a, b]", "networks: {b: {aliases: [x]}, c: }"): {
        "networks": {"a": None, "b": {"aliases": ["x"]}, "c": None}
    },
    ("networks: {a: {aliases: [x, y]}}", "networks: {a: {aliases: [y, z], priority: 5}}"): {
        "networks": {"a": {"aliases": ["x", "y", "z"], "priority": 5}}
    },
    ("networks: {a: {aliases: [x]}}", "networks: [a]"): {"networks": {"a": {"aliases": ["x"]}}},
    ("ulimits: {nproc: {soft: 1, hard: 2}, nofile: 3}", "ulimits: {nproc: 5}"): {
        "ulimits": {"nproc": {"soft": 5, "hard": 5}, "nofile": {"soft": 3, "hard": 3}}
    },
    ("ulimits: {nproc: 5}", "ulimits: {nproc: {soft: 1}}"): {"ulimits": {"nproc": {"soft": 1}}},
    ("volumes: ['a1:/a', 'b1:/b']", "volumes: ['c1:/a/:ro', '/c']"): {
        "volumes": [
            {"type": "volume", "source": "c1", "target": "/a", "read_only": True},
            {"type": "volume", "source": "b1", "target": "/b"},
            {"type": "volume", "target": "/c"},
        ]
    },
    ("ports: ['80:80', '81:81']", "ports: ['80:80', '82:80', '81:81/udp']"): {
        "ports": [
            {"target": 80, "published": "80", "protocol": "tcp"},
            {"target": 81, "published": "81", "protocol": "tcp"},
            {"target": 80, "published": "82", "protocol": "tcp"},
            {"target": 81, "published": "81", "protocol": "udp"},
        ]
    },
    ("ports: ['80-82']", "ports: [{target: 81, mode: host}]"): {
        "ports": [
            {"target": 80, "protocol": "tcp"},
            {"target": 81, "mode": "host"},
            {"target": 82, "protocol": "tcp"},
        ]
    },
    ("secrets: [a, b]", "secrets: [{source: c, target: a}]"): {
        "secrets": [{"source": "c", "target": "a"}, {"source": "b"}]
    },
    ("secrets: [a]", "secrets: [{source: c, target: /run/secrets/a}]"): {
        "secrets": [{"source": "c", "target": "/run/secrets/a"}]
    },
    ("env_file: [a, b]", "env_file: [{path: a, required: false}, c]"): {
        "env_file": [{"path": "a", "required": False}, {"path": "b"}, {"path": "c"}]
    },
    ("cap_add: [A]", "cap_add: [B, A]"): {"cap_add": ["A", "B"]},
    ("cap_drop: [A]", "cap_drop: [B, A]"): {"cap_drop": ["A", "B"]},
    ("expose: [80]", "expose: ['80', 81]"): {"expose": ["80", 81]},
    ("tmpfs: /a", "tmpfs: [/b, /a]"): {"tmpfs": ["/a", "/b"]},
    ("profiles: [a]", "profiles: [a, b]"): {"profiles": ["a", "b"]},
    ("links: [a]", "links: [a, 'a:b']"): {"links": ["a", "a:b"]},
    ("extra_hosts: [a=1.2.3.4]", "extra_hosts: {a: [1.2.3.4, 1.2.3.5], b: '::1'}"): {
        "extra_hosts": [
            {"host": "a", "address": "1.2.3.4"},
            {"host": "a", "address": "1.2.3.5"},
            {"host": "b", "address": "::1"},
        ]
    },
    ("security_opt: [a]", "security_opt: [b]"): {"security_opt": ["a", "b"]},
    ("group_add: [a]", "group_add: [b]"): {"group_add": ["a", "b"]},
    ("build: ./a", "build: {args: [A=1]}"): {"build": {"context": "./a", "args": {"A": "1"}}},
    ("build: {context: a, args: [A=1, B]}", "build: {context: b, args: {B: 2}}"): {
        "build": {"context": "b", "args": {"A": "1", "B": 2}}
    },
    ("build: {labels: [a=b], tags: [t]}", "build: {labels: {a: c}, tags: [t, u]}"): {
        "build": {"labels": {"a": "c"}, "tags": ["t", "u"]}
    },
    ("build: {args: [A=1]}", "build:"): {"build": {"args": {"A": "1"}}},
    ("logging: {driver: a, options: {x: 1}}", "logging: {options: {y: 2}}"): {
        "logging": {"driver": "a", "options": {"x": 1, "y": 2}}
    },
    ("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}"): {"logging": {"driver": "b"}},
    ("logging: {driver: a, options: {x: 1}}", "logging: {driver: a, options: {x: 2}}"): {
        "logging": {"driver": "a", "options": {"x": 2}}
    },
    ("logging: {driver: a}", "logging:"): {"logging": {"driver": "a"}},
    ("deploy: {resources: {limits: {cpus: 1, pids: 5}}, labels: [a=b]}", "deploy: {resources: {limits: {cpus: 2}}}"): {
        "deploy": {"resources": {"limits": {"cpus": 2, "pids": 5}}, "labels": {"a": "b"}}
    },
    ("deploy: {labels: [a=b]}", "deploy: {labels: {a: , c: d}}"): {"deploy": {"labels": {"a": None, "c": "d"}}},
    ("unknown: {a: [1], b: {c: 1}}", "unknown: {a: [2], b: {c: , d: 3}}"): {
        "unknown": {"a": [1, 2], "b": {"c": 1, "d": 3}}
    },
    ("unknown: 5", "unknown: {a: b}"): {"unknown": {"a": "b"}},
}


@pytest.mark.parametrize(("texts", "expected"), RULES.items())
def test_rule(texts: tuple[str, str], expected: Any) -> None:
    assert plain(merged(*texts)) == expected


TEXTS = (
    ("services", "s", "annotations"),
    ("services", "s", "build", "additional_contexts"),
    ("services", "s", "build", "args"),
    ("services", "s", "build", "labels"),
    ("services", "s", "deploy", "labels"),
    ("services", "s", "environment"),
    ("services", "s", "labels"),
    ("services", "s", "sysctls"),
    ("networks", "n", "labels"),
    ("volumes", "v", "labels"),
)


@pytest.mark.parametrize("path", TEXTS)
def test_a_text_without_a_value_replaces_one_with_a_value(path: tuple[str, ...]) -> None:
    def root(value: str | None) -> Node:
        tree: Any = {"a": value}
        for part in reversed(path):
            tree = {part: tree}
        return parsed(json.dumps(tree))

    assert plain(merge.merge(root("x"), root(None)).at((*path, "a"))) is None
    assert plain(merge.merge(root(None), root("x")).at((*path, "a"))) == "x"


BAD = {
    ("deploy: {labels: [a=b]}", "deploy: {resources: [x]}"): None,
    ("deploy: {resources: {limits: {}}}", "deploy: {resources: [x]}"): ("deploy.resources", "must be a mapping"),
    ("security_opt: [a]", "security_opt: x"): ("security_opt", "must be a list, to be merged with the one in comp"),
    ("security_opt: [a]", "security_opt: {a: b}"): ("security_opt", "must be a list"),
    ("unknown: {a: b}", "unknown: 5"): ("unknown", "must be a mapping, to be merged with the one in compose.yaml:1"),
    ("unknown: {a: {b: c}}", "unknown: {a: []}"): ("unknown.a", "must be a mapping"),
}


@pytest.mark.parametrize(("texts", "expected"), BAD.items())
def test_other_kinds_cannot_be_merged(texts: tuple[str, str], expected: tuple[str, str] | None) -> None:
    if expected is None:
        merged(*texts)
        return
    with pytest.raises(ComposeProblem) as refused:
        merged(*texts)
    assert refused.value.key == f"services.db.{expected[0]}"
    assert expected[1] in refused.value.what
    assert refused.value.where == "overlay.yaml:1"


def test_roots() -> None:
    base = canonical.top(
        parsed(
            """
            name: a
            services: {x: {image: i, user: u}, y: {image: j}}
            volumes: {v: {labels: [a=b]}, w: }
            networks: {n: {internal: true, labels: [a=b]}}
            secrets: {s: {file: a}}
            """
        )
    )
    over = canonical.top(
        parsed(
            """
            name: b
            services: {x: {image: k}, y: , z: {image: l}}
            volumes: {v: {labels: {a: }}, w: {name: z}}
            networks: {n: {labels: {c: d}}, m: }
            secrets: {s: {file: b}}
            """
        )
    )
    assert plain(merge.merge(base, over)) == {
        "name": "b",
        "services": {"x": {"image": "k", "user": "u"}, "y": {"image": "j"}, "z": {"image": "l"}},
        "volumes": {"v": {"labels": {"a": None}}, "w": {"name": "z"}},
        "networks": {"n": {"internal": True, "labels": {"a": "b", "c": "d"}}, "m": None},
        "secrets": {"s": {"file": "b"}},
    }


def test_values_keep_the_place_that_they_were_written_at() -> None:
    found = merged("volumes: ['a1:/a']\nimage: x", "\nvolumes: ['b1:/b', 'c1:/a']\nimage: y")
    assert [Places(found).at("volumes", n) for n in range(2)] == ["volumes[1]", "volumes[0]"]
    assert [str(_at(found, "volumes", n).mark) for n in range(2)] == ["overlay.yaml:2", "overlay.yaml:2"]
    assert str(_at(found, "image").mark) == "overlay.yaml:3"
    found = merged("labels: [a=b]\nsecurity_opt: [x]", "labels: [c=d, a=e]\nsecurity_opt: [z, y]")
    assert Places(found).at("labels", "a") == "labels[1]"
    assert [Places(found).at("security_opt", n) for n in range(3)] == [
        "security_opt[0]",
        "security_opt[0]",
        "security_opt[1]",
    ]


def _at(node: Node, *path: str | int) -> Node:
    found = node.at(path)
    assert found is not None
    return found


_NAMES = st.sampled_from(["a", "b", "c"])
_SCALARS = st.none() | st.sampled_from([0, 1, True, 1.5, "", "x", "a=b"])


def _lists(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Long enough for an entry to come twice, with others around it."""
    return st.lists(entries, max_size=4)


_TEXTS = st.dictionaries(_NAMES, _SCALARS) | _lists(st.sampled_from(["a", "a=1", "b=", "c=x=y"]))
_MOUNTS = st.sampled_from(["./x:/x", "data:/d:ro", "/x", "v1:/x/", {"type": "tmpfs", "target": "/d"}, {"type": "x"}])
_PORTS = st.sampled_from([80, "80:80", "80-82", "1-3:80", "127.0.0.1:5:6/udp", {"target": 81}, {"published": 5}])
_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "image": _SCALARS,
    "environment": _TEXTS,
    "labels": _TEXTS,
    "command": st.sampled_from(["a b", ["c"], [], None]),
    "depends_on": _lists(_NAMES) | st.dictionaries(_NAMES, st.just({"condition": "service_healthy"})),
    "networks": _lists(_NAMES) | st.dictionaries(_NAMES, st.none() | st.just({"aliases": ["x", "y"]})),
    "volumes": _lists(_MOUNTS),
    "ports": _lists(_PORTS),
    "secrets": _lists(_NAMES | st.builds(lambda s, t: {"source": s, "target": t}, _NAMES, _NAMES)),
    "env_file": _NAMES | _lists(_NAMES),
    "cap_add": _lists(_NAMES),
    "tmpfs": _lists(st.sampled_from(["/a", "/b:size=1", "/b"])),
    "ulimits": st.dictionaries(_NAMES, st.integers(0, 3) | st.just({"soft": 1, "hard": 2})),
    "extra_hosts": _lists(st.sampled_from(["a=1.2.3.4", "b:::1"])) | st.dictionaries(_NAMES, st.just("1.2.3.4")),
    "healthcheck": st.fixed_dictionaries(
        {}, optional={"test": st.sampled_from(["x", ["CMD", "y"]]), "retries": _NAMES}
    ),
    "build": _NAMES | st.fixed_dictionaries({}, optional={"context": _NAMES, "args": _TEXTS}),
    "security_opt": _lists(_NAMES),
}
_SERVICES = st.fixed_dictionaries({}, optional=_KEYS)


def _node(value: Any, file: str = "f") -> Node:
    return canonical.service(parsed(json.dumps(value), file), AT)


@given(_SERVICES)
def test_nothing_over_a_service_changes_nothing(value: Any) -> None:
    one, nothing = _node(value), Node({}, Mark("g", 1))
    assert merge.service(one, nothing, AT) == one
    assert plain(merge.service(nothing, one, AT)) == plain(one)


@given(_SERVICES)
def test_canonical_form_is_reached_at_once(value: Any) -> None:
    once = _node(value)
    assert canonical.service(once, AT) == once


@given(_SERVICES, _SERVICES)
def test_what_is_merged_is_canonical(one: Any, other: Any) -> None:
    found = merge.service(_node(one), _node(other), AT)
    assert canonical.service(found, AT) == found


@given(_SERVICES, _SERVICES, _SERVICES)
def test_how_files_are_grouped_does_not_matter(one: Any, two: Any, three: Any) -> None:
    a, b, c = _node(one), _node(two), _node(three)
    left = merge.service(merge.service(a, b, AT), c, AT)
    right = merge.service(a, merge.service(b, c, AT), AT)
    assert plain(left) == plain(right)


@given(_SERVICES)
def test_a_service_over_itself_changes_nothing(value: Any) -> None:
    value.pop("security_opt", None)  # is appended, as in Compose
    value.pop("volumes", None)  # those without a target are, too
    value.pop("ports", None)
    one = _node(value)
    assert plain(merge.service(one, one, AT)) == plain(one)


_ANY = st.recursive(
    _SCALARS | st.text("ab:/=.- '&0", max_size=8) | st.integers(-5, 99),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.sampled_from(["target", "file"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*_KEYS, "deploy", "extends", "links", "expose", "logging"]), _ANY), _SERVICES)
def test_whatever_is_written_nothing_but_a_problem_is_raised(value: Any, other: Any) -> None:
    try:
        found = merge.service(_node(value), _node(other), AT)
    except ComposeProblem as e:
        assert e.key.startswith("services.db.")  # noqa: PT017
    else:
        assert canonical.service(found, AT) == found
