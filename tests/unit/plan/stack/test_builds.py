"""What is built for a stack: of admitted images only, known by a key of all that it is made of."""

from __future__ import annotations

import re

import pytest

from stromboli.compose.problem import Mark
from stromboli.compose.stack import Build, Service
from stromboli.errors import ComposeProblem, Refused
from stromboli.plan.compose_rules import ComposeRules
from stromboli.plan.stack.builds import Base, PlannedBuild, is_built, planned
from stromboli.plan.stack.image import ImageCheck
from stromboli.reasons import Reason
from tests.support.built import AT, build, policy

MARK = Mark("docker-compose.yml", 7)


def plan(text: str, *allowed: str, **fields: object) -> PlannedBuild:
    return planned(build(None, **fields), text.encode(), policy(allowed=allowed), MARK)


def refused(text: str, **fields: object) -> str:
    with pytest.raises(Refused) as caught:
        plan(text, "docker.io/library/*", **fields)
    assert caught.value.reason is Reason.ImageNotAllowed
    return caught.value.message


def test_every_image_is_admitted_and_known_by_its_text() -> None:
    found = plan("FROM python:3.12 AS a\nFROM debian\nCOPY --from=a /x /y\nCOPY --from=busybox:1 /x /y")
    assert {text: str(image) for text, image in found.images.items()} == {
        "python:3.12": "docker.io/library/python:3.12",
        "debian": "docker.io/library/debian:latest",
        "busybox:1": "docker.io/library/busybox:1",
    }


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("FROM evil.example/x:1", "dockerfile (line 1)"),
        ("FROM debian\n\nCOPY --from=evil.example/x:1 /a /b", "dockerfile (line 3)"),
        ("FROM debian\nRUN --mount=from=evil.example/x:1,target=/t x", "dockerfile (line 2)"),
        ("# syntax=evil.example/x:1\nFROM debian", "dockerfile (# syntax)"),
        ("ARG A=evil.example/x\nFROM ${A}:1", "dockerfile (line 2)"),
    ],
)
def test_an_image_that_is_not_allowed(text: str, slot: str) -> None:
    message = refused(text)
    assert message.startswith(f"spec.environment: {AT}.{slot}: the image evil.example/x:1 is not allowed")


def test_a_syntax_line_may_be_left_out() -> None:
    assert refused("# syntax=docker/dockerfile:1\nFROM debian").endswith("the line may be left out")
    assert not refused("FROM evil.example/x:1").endswith("the line may be left out")


def test_the_key_is_the_argument_s_where_it_decides() -> None:
    message = refused("ARG BASE=debian\nFROM ${BASE}", args={"BASE": "evil.example/x:1"})
    assert message.startswith(f"spec.environment: {AT}.args.BASE: the image evil.example/x:1 is not allowed")


def test_images_of_other_sessions_are_nobodys_base() -> None:
    with pytest.raises(Refused, match="was built for the stack of a session"):
        plan("FROM localhost/stromboli/built:other-db")


@pytest.mark.parametrize(
    ("text", "fields", "key", "said"),
    [
        ("RUN x", {}, "dockerfile", "line 1: only ARG"),
        ("FROM a\nRUN --mount=type=ssh x", {"dockerfile_inline": "x"}, "dockerfile_inline", "line 2: RUN --mount"),
        ("FROM a AS b", {"target": "c"}, "target", "the Dockerfile has no stage c"),
    ],
)
def test_a_file_that_cannot_be_built(text: str, fields: dict[str, object], key: str, said: str) -> None:
    with pytest.raises(ComposeProblem) as caught:
        plan(text, **fields)
    assert caught.value.key == f"{AT}.{key}"
    assert caught.value.what.startswith(said)
    assert caught.value.where == "docker-compose.yml:7"


def test_instructions_for_whoever_builds_from_an_image() -> None:
    found = plan("FROM a\nCOPY --from=b /x /y")
    found.check({"a": Base("1"), "b": Base("2")})
    with pytest.raises(ComposeProblem, match=re.escape(f"{AT}.dockerfile (line 2): the image b has ONBUILD")):
        found.check({"a": Base("1"), "b": Base("2", on_build=("RUN evil",))})


def test_what_is_built() -> None:
    checks = {
        "a": ImageCheck(("CMD-SHELL", 'pg_isready "$X"'), interval=5, timeout=0.5, retries=3, start_period=60),
        "b": ImageCheck(("NONE",)),
        "c": ImageCheck(("CMD", "redis-cli", "ping")),
        "d": ImageCheck(),
    }
    found = plan("FROM a\nFROM b\nFROM c\nFROM d\nRUN x")
    text = found.dockerfile({name: Base(f"id-{name}", check) for name, check in checks.items()})
    assert text.splitlines() == [
        "FROM id-a AS stromboli-stage-0",
        "HEALTHCHECK --interval=5s --timeout=0.5s --start-period=60s --retries=3 CMD "
        '["/bin/sh", "-c", "pg_isready \\"$X\\""]',
        "FROM id-b AS stromboli-stage-1",
        "HEALTHCHECK NONE",
        "FROM id-c AS stromboli-stage-2",
        'HEALTHCHECK CMD ["redis-cli", "ping"]',
        "FROM id-d AS stromboli-stage-3",
        "RUN x",
    ]


def test_the_key() -> None:
    text = "FROM a AS one\nFROM one AS two"
    ids = {"a": "1"}
    key = plan(text).key("context", ids)
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert plan(text).key("context", ids) == key
    others = {
        plan(text).key("other", ids),
        plan(text).key("context", {"a": "2"}),
        plan(text + "\nRUN x").key("context", ids),
        plan(text, args={"A": "b"}).key("context", ids),
        plan(text, target="one").key("context", ids),
    }
    assert len(others | {key}) == 6


def test_what_is_not_built() -> None:
    service = Service("db", image="postgres:16", build=Build(AT, "/srv"))
    on = policy().compose
    assert is_built(service, on)
    assert not is_built(service, on, overridden=True)
    assert not is_built(service, ComposeRules()), "allowBuild is off by default"
    assert not is_built(Service("db", image="postgres:16"), on)
