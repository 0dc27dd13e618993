"""Ordinary compose files for real: their stacks start side by side, and the agents work in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import corpus, services
from tests.support.corpus import Case
from tests.support.host import Host
from tests.support.runs import Object, Runs, condition
from tests.support.sessions import idle

CASES = {case.file.stem: case for case in corpus.cases("ordinary") if case.runs}
DONE = "and-that-is-all"
WITHIN = 300.0


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 10


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("ordinary", light=True)


@pytest.fixture(scope="module")
def ended(space: Runs, folder: Path, podman_env: dict[str, str]) -> dict[str, Object]:
    """The runs in all of them, started at once, each in a session of its own."""
    workbench, *_ = (services.build(name, podman_env) for name in ("workbench", "postgres", "redis"))
    return space.run_all(
        {name: spec(case, folder / "work" / "ordinary" / name, workbench) for name, case in CASES.items()},
        within=WITHIN,
    )


def spec(case: Case, folder: Path, workbench: str) -> dict[str, Any]:
    """The agent's service has an image with clients of the others."""
    folder.mkdir(parents=True)
    paths = case.laid_out(folder)
    environment: dict[str, Any] = {
        "type": "compose",
        "paths": [str(path) for path in paths],
        "service": case.service,
        "images": {case.service: workbench},
        "env": [{"name": name, "value": value} for name, value in case.environment.items()],
        "profiles": [*case.profiles],
    }
    return {
        "prompt": f"BASH{{{case.runs} && echo {DONE}}}",
        "environment": environment,
        "session": {"name": case.file.stem},
    }


@pytest.mark.parametrize("name", CASES)
def test_the_agent_works_in_its_stack(ended: dict[str, Object], name: str) -> None:
    run = ended[name]
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    assert DONE in run["status"]["result"]["text"]


@pytest.mark.parametrize("name", CASES)
def test_its_services_are_ready_in_the_status_of_the_session(ended: dict[str, Object], space: Runs, name: str) -> None:
    found = idle(space, name)["status"]["services"]
    assert found
    assert [one["name"] for one in found if not one["ready"]] == []


def test_nothing_is_left_of_them(ended: dict[str, Object], space: Runs, host: Host) -> None:
    uids = [idle(space, name)["metadata"]["uid"] for name in CASES]
    space.kubectl("-n", space.namespace, "delete", "agentruns,agentsessions", "--all")
    for uid in uids:
        host.await_gone(uid)
    assert [name for uid in uids for name in (*host.volumes(), *host.networks()) if uid in name] == []
