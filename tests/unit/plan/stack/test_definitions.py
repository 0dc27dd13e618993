"""What counts as a change of a service, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stromboli.compose import stack
from stromboli.compose.stack import (
    Anonymous,
    Attachment,
    Bind,
    Build,
    Capability,
    Dependency,
    HealthCheck,
    Service,
    Tmpfs,
    Ulimit,
)
from stromboli.plan.stack import definitions, names
from stromboli.plan.stack.definitions import Definition
from stromboli.plan.stack.image import Image, ImageCheck
from tests.unit.plan.stack.bodies import IMAGE, LABELS, UID, body_of, resolved
from tests.unit.plan.stack.stacks import service

DEFAULT = names.network(UID, "default")
PLAIN = service("db", environment={"A": "1"})


def of(one: Service, image: Image = IMAGE, **internal: bool) -> Definition:
    body = body_of(one, image)
    networks = dict.fromkeys(body.get("Networks") or {}, False) | {DEFAULT: internal.get("internal", False)}
    return definitions.of(body, resolved(one, image).supervision, networks)


def changed(fields: dict[str, Any]) -> str:
    return definitions.changes(of(PLAIN), of(replace(PLAIN, **fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"build": Build("b", "/srv/app")},
        {"pull_policy": "always"},
        {"depends_on": (Dependency("d", "cache"),)},
        {"profiles": ("dev",)},
        {"scale": 1, "platform": "linux/amd64"},
        {"keys": {}, "mark": None},
    ],
)
def test_what_does_not_count(fields: dict[str, Any]) -> None:
    assert changed(fields) == ""


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"environment": {"A": "2"}}, "its environment changed"),
        ({"environment": {"A": "1", "B": ""}}, "its environment changed"),
        ({"unset": frozenset({"LANG"})}, "its environment changed"),
        ({"command": ("x",)}, "its command changed"),
        ({"entrypoint": ()}, "its command changed"),
        ({"working_dir": "/x"}, "its command changed"),
        ({"user": "root"}, "its user changed"),
        ({"mounts": (Bind("m", "/srv/app", "/app"),)}, "its mounts changed"),
        ({"mounts": (Anonymous("m", "/x"),)}, "its mounts changed"),
        ({"mounts": (Tmpfs("m", "/x"),)}, "its mounts changed"),
        ({"networks": {"back": Attachment("n")}}, "its network changed"),
        ({"container_name": "x"}, "its network changed"),
        ({"hostname": "x"}, "its network changed"),
        ({"network_mode": "none"}, "its network changed"),
        ({"limits": stack.Limits(memory=512)}, "its limits changed"),
        ({"ulimits": {"nofile": Ulimit(1, 1)}}, "its limits changed"),
        ({"cap_drop": (Capability("c", "ALL"),)}, "its rights changed"),
        ({"healthcheck": HealthCheck(("CMD", "x"))}, "its health check changed"),
        ({"restart": "always"}, "its settings changed"),
        ({"init": True}, "its settings changed"),
        ({"stop_signal": "SIGTERM"}, "its settings changed"),
        ({"stop_grace_period": 1.0}, "its settings changed"),
        ({"labels": {"a": "b"}}, "its labels changed"),
        ({"user": "root", "command": ("x",), "init": True}, "its command, its settings and its user changed"),
    ],
)
def test_what_counts(fields: dict[str, Any], what: str) -> None:
    assert changed(fields) == what


def test_the_image_and_what_it_says_count() -> None:
    assert definitions.changes(of(PLAIN), of(PLAIN, replace(IMAGE, id="beef"))) == "its image changed"
    other = replace(IMAGE, id="beef", check=ImageCheck(("CMD", "x")), env={"A": "0"})
    assert definitions.changes(of(PLAIN), of(PLAIN, other)) == (
        "its environment, its health check and its image changed"
    )


def test_a_network_that_loses_its_way_out_is_another_network() -> None:
    assert definitions.changes(of(PLAIN), of(PLAIN, internal=True)) == "its network changed"


def test_labels_of_ours_do_not_count() -> None:
    body, one = body_of(PLAIN), resolved(PLAIN)
    other = {**body, "name": "x", "labels": {**body["labels"], "stromboli.dev/run": "team/other"}}
    networks = {DEFAULT: False}
    assert definitions.of(body, one.supervision, networks) == definitions.of(other, one.supervision, networks)
    assert LABELS.items() <= body["labels"].items()


def test_a_label_has_it_without_any_value() -> None:
    found = of(replace(PLAIN, environment={"PASSWORD": "hunter2"}))
    text = definitions.to_label(found)
    assert definitions.from_label(text) == found
    assert "hunter2" not in text
    assert len(text) < 1000


@pytest.mark.parametrize("text", ["", "1", "[]", "{", "[" * 10_000])
def test_a_label_that_is_none(text: str) -> None:
    assert definitions.from_label(text) is None
    assert definitions.changes(definitions.from_label(text), of(PLAIN)) == "its label is lost"
