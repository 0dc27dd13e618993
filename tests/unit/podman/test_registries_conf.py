"""Where an image is asked for, by the rules of containers-registries.conf(5)."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.grammar.reference import parse
from stromboli.podman.registries_conf import Endpoint, read

DIGEST = f"sha256:{'1' * 64}"


def entry(prefix: str, location: str, *mirrors: dict[str, Any], **more: Any) -> dict[str, Any]:
    empty = {"Insecure": False, "Blocked": False, "MirrorByDigestOnly": False}
    return {"Prefix": prefix, "Location": location, "Mirrors": list(mirrors) or None} | empty | more


def mirror(location: str, serves: str = "", insecure: bool = False) -> dict[str, Any]:
    return {"Location": location, "Insecure": insecure, "PullFromMirror": serves}


def places(reference: str, *entries: dict[str, Any]) -> list[str]:
    conf = read({"search": ["docker.io"], **{each["Prefix"]: each for each in entries}})
    return [f"{each.host}/{each.path}" for each in conf.endpoints(parse(reference))]


@pytest.mark.parametrize(
    ("reference", "entries", "expected"),
    [
        ("quay.io/a/b:1", [], ["quay.io/a/b"]),
        ("python:3", [], ["registry-1.docker.io/library/python"]),
        ("quay.io/a/b:1", [entry("quay.io", "other.test/quay")], ["other.test/quay/a/b"]),
        ("quay.io/a/b:1", [entry("quay.io/a", "other.test/x")], ["other.test/x/b"]),
        ("quay.io/a/b:1", [entry("quay.io/a/b", "other.test/x/y")], ["other.test/x/y"]),
        ("quay.io/ab/c:1", [entry("quay.io/a", "other.test/x")], ["quay.io/ab/c"]),
        ("quay.io:5000/a:1", [entry("quay.io", "other.test")], ["other.test:5000/a"]),
        ("quay.io.evil.test/a:1", [entry("quay.io", "other.test")], ["quay.io.evil.test/a"]),
        ("quay.io/a/b:1", [entry("quay.io", "x.test"), entry("quay.io/a", "y.test")], ["y.test/b"]),
        ("eu.corp.test/a:1", [entry("*.corp.test", "")], ["eu.corp.test/a"]),
        ("eu.corp.test/a:1", [entry("*.corp.test", "hub.test")], ["hub.test/a"]),
        ("corp.test/a:1", [entry("*.corp.test", "hub.test")], ["corp.test/a"]),
        (
            "python:3",
            [entry("docker.io", "docker.io", mirror("one.test/hub"), mirror("two.test"))],
            ["one.test/hub/library/python", "two.test/library/python", "registry-1.docker.io/library/python"],
        ),
        ("quay.io/a:1", [entry("quay.io", "quay.io", mirror("m.test"), MirrorByDigestOnly=True)], ["quay.io/a"]),
        (
            f"quay.io/a@{DIGEST}",
            [entry("quay.io", "quay.io", mirror("m.test"), MirrorByDigestOnly=True)],
            ["m.test/a", "quay.io/a"],
        ),
        (
            "quay.io/a:1",
            [entry("quay.io", "quay.io", mirror("d.test", "digest-only"), mirror("t.test", "tag-only"))],
            ["t.test/a", "quay.io/a"],
        ),
    ],
)
def test_the_places_and_their_order(reference: str, entries: list[dict[str, Any]], expected: list[str]) -> None:
    assert places(reference, *entries) == expected


def test_only_the_registry_that_was_named_is_ones_own() -> None:
    conf = read({"q": entry("quay.io", "quay.io", mirror("m.test", insecure=True)), "r": entry("r.test", "s.test")})
    assert conf.endpoints(parse("quay.io/a:1")) == (
        Endpoint("m.test", "a", insecure=True, own=False),
        Endpoint("quay.io", "a", insecure=False, own=True),
    )
    assert conf.endpoints(parse("r.test/a:1")) == (Endpoint("s.test", "a", insecure=False, own=False),)
    assert conf.endpoints(parse("python:3"))[0].own


def test_a_blocked_registry() -> None:
    conf = read({"q": entry("quay.io/a", "quay.io/a", Blocked=True)})
    assert conf.blocks(parse("quay.io/a/b:1"))
    assert not conf.blocks(parse("quay.io/b:1"))
    assert not conf.blocks(parse("python:3"))
