"""Services that are built: of the project's own folder and of images on the node, under no name of the file's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import services, stacked
from tests.support.host import Host
from tests.support.runs import Runs
from tests.support.sessions import idle

AGENT = "localhost/stromboli-test/workbench:1"
FILE = """
services:
  app:
    build: {context: ., args: {BASE: "localhost/stromboli-test/workbench:1"}}
    depends_on: [cache]
  cache:
    image: redis:7
    build: {context: ./cache, dockerfile: Dockerfile}
"""
APP = "ARG BASE\nFROM ${BASE}\nCOPY marker /marker\nRUN echo built-in >> /marker\n"
CACHE = 'FROM redis:7\nEXPOSE 7777\nCMD ["redis-server", "--save", "", "--port", "7777"]\n'
LOOK = "echo; cat /marker; redis-cli -h cache -p 7777 PING"


@pytest.fixture(scope="module", autouse=True)
def images(podman_env: dict[str, str]) -> None:
    for name in ("workbench", "redis"):
        services.build(name, podman_env)


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs], light_spec: dict[str, Any]) -> Runs:
    space = spaces("compose-build", own=True)
    space.policy("light", **light_spec | {"compose": {"allowBuild": True}})
    return space


@pytest.fixture
def project(folder: Path, request: pytest.FixtureRequest) -> Path:
    place = folder / "work" / str(request.node.name)
    (place / "cache").mkdir(parents=True)
    (place / "marker").write_text("from the folder\n")
    (place / "Dockerfile").write_text(APP)
    (place / "cache/Dockerfile").write_text(CACHE)
    return place


def test_a_session_in_what_was_built(space: Runs, project: Path, host: Host) -> None:
    before = host.podman.run("image", "inspect", "redis:7", "--format", "{{.Id}}")
    given = stacked.on_node(project, FILE)
    said = stacked.go(space, "first", stacked.spec(LOOK, given, "built"))
    assert said.splitlines()[-3:] == ["from the folder", "built-in", "PONG"]
    assert host.podman.run("image", "inspect", "redis:7", "--format", "{{.Id}}") == before, "its name is not taken"
    uid = idle(space, "built")["metadata"]["uid"]
    first = stacked.containers(host, uid)["cache"]["Id"]

    said = stacked.go(space, "second", stacked.spec(LOOK, given, "built"))
    assert said.splitlines()[-3:] == ["from the folder", "built-in", "PONG"]
    assert stacked.containers(host, uid)["cache"]["Id"] == first, "nothing was built again"

    (project / "marker").write_text("changed\n")
    said = stacked.go(space, "third", stacked.spec(LOOK, given, "built"))
    assert said.splitlines()[-3:] == ["changed", "built-in", "PONG"]
    assert stacked.containers(host, uid)["cache"]["Id"] == first, "only what has changed"

    space.kubectl("-n", space.namespace, "delete", "agentruns,agentsessions", "--all")
    stacked.await_gone(host, uid)
    assert not [name for name in host.podman.run("images", "--format", "{{.Names}}").splitlines() if uid in name]


def test_a_build_that_fails_ends_the_run_with_its_last_lines(space: Runs, project: Path) -> None:
    (project / "Dockerfile").write_text(f"FROM {AGENT}\nRUN echo it-said-this && exit 7\n")
    reason, message = stacked.refusal(space, "failing", stacked.spec(LOOK, stacked.on_node(project, FILE)))
    assert reason == "ServiceFailed"
    assert "app" in message
    assert "it-said-this" in message


def test_an_image_that_is_not_allowed_is_not_reached_by_a_build(
    spaces: Callable[..., Runs], light_spec: dict[str, Any], project: Path
) -> None:
    space = spaces("compose-build-narrow", own=True)
    images = {"allowed": ["localhost/stromboli-test/workbench:*"]}
    space.policy("light", **light_spec | {"compose": {"allowBuild": True}, "images": images})
    reason, message = stacked.refusal(space, "narrow", stacked.spec(LOOK, stacked.on_node(project, FILE)))
    assert reason == "ImageNotAllowed"
    assert "services.cache.build.dockerfile" in message
    (project / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (project / "cache/Dockerfile").write_text(f"FROM {AGENT}\n")
    other = FILE.replace('BASE: "localhost/stromboli-test/workbench:1"', 'BASE: "redis:7"')
    reason, message = stacked.refusal(space, "argument", stacked.spec(LOOK, stacked.on_node(project, other)))
    assert reason == "ImageNotAllowed"
    assert "services.app.build.args.BASE" in message
