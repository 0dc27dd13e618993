"""examples/compose/ for real: an agent works with PostgreSQL over the stack's network, and deletion leaves nothing.

The file and the runs are the example's, in a folder of the tests' own. The prompts are directives for the stand-in, and
the agent's service has an image with psql in it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import services
from tests.support.host import Host
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, condition
from tests.support.sessions import idle, session

EXAMPLE = Path(__file__).parent.parent.parent / "examples/compose"
FILE = "docker-compose.yml"
PSQL = "PGPASSWORD=devpass psql --host db --username postgres --no-psqlrc -At"
CREATE = f"""{PSQL} -c "CREATE TABLE visits (page text)" -c "INSERT INTO visits VALUES ('lava')" -c "TABLE visits" """
READ = f"""{PSQL} -c "SELECT 'still: ' || page FROM visits" """
WITHIN = 120.0  # seconds for a run that starts a stack


@dataclass(frozen=True)
class Project:
    """A folder with the example's compose file, and the specs of the example's runs in it."""

    folder: Path
    workbench: str

    def spec(self, file: str, shell: str) -> dict[str, Any]:
        """The spec of one of the example's runs; its agent runs this shell command, and answers with the output."""
        spec: dict[str, Any] = copy.deepcopy(yaml.safe_load((EXAMPLE / file).read_text())["spec"])
        spec |= {"prompt": f"BASH{{{shell}}}", "claude": {"dangerouslySkipPermissions": True}}
        if environment := spec.get("environment"):
            environment |= {"path": str(self.folder / FILE), "images": {"dev": self.workbench}}
        return spec


@pytest.fixture(scope="module")
def project(folder: Path, podman_env: dict[str, str]) -> Project:
    services.build("postgres", podman_env)
    place = folder / "work" / "compose"  # the tests' policy allows what is below work/
    place.mkdir(parents=True)
    shutil.copy(EXAMPLE / FILE, place)
    return Project(place, services.build("workbench", podman_env))


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("compose")


def on_the_node(podman: IsolatedPodman) -> dict[str, set[str]]:
    """Everything in Podman, by kind."""
    listings = {
        "containers": ("ps", "--all", "--no-trunc", "--format", "{{.Names}}"),
        "volumes": ("volume", "ls", "--quiet"),
        "networks": ("network", "ls", "--format", "{{.Name}}"),
        "images": ("images", "--all", "--no-trunc", "--quiet"),
    }
    return {kind: set(podman.run(*command).split()) for kind, command in listings.items()}


def completed(run: Object) -> str:
    """The answer of a run that has to have completed."""
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    return str(run["status"]["result"]["text"])


def test_the_file_is_the_documentations_and_has_no_health_check() -> None:
    found = yaml.safe_load((EXAMPLE / FILE).read_text())
    assert found == {
        "services": {
            "dev": {
                "image": "python:3.12",
                "working_dir": "/workspace",
                "volumes": [".:/workspace"],
                "depends_on": ["db"],
            },
            "db": {"image": "postgres:16", "environment": {"POSTGRES_PASSWORD": "devpass"}},
        }
    }


def test_the_second_run_reads_what_the_first_has_written_and_deletion_leaves_nothing(
    space: Runs, project: Project, isolated_podman: IsolatedPodman, host: Host
) -> None:
    before = on_the_node(isolated_podman)
    first = space.run("create", within=WITHIN, **project.spec("create.yaml", CREATE))
    assert completed(first).splitlines()[-1].endswith("lava")
    there = idle(space, "compose")
    uid = there["metadata"]["uid"]
    up = {service["name"]: service for service in there["status"]["services"]}
    assert up["db"]["ready"] is True
    second = space.run("read", within=WITHIN, **project.spec("read.yaml", READ))
    assert "still: lava" in completed(second)
    now = {service["name"]: service for service in session(space, "compose")["status"]["services"]}
    assert now["db"]["startedAt"] == up["db"]["startedAt"], "the database went on"

    space.kubectl("-n", space.namespace, "delete", "agentruns", "--all")
    space.kubectl("-n", space.namespace, "delete", "agentsession", "compose")
    host.await_gone(uid)
    host.until(lambda: left_since(before, isolated_podman) == {}, "nothing is left of the stack")
    assert [path.name for path in project.folder.iterdir()] == [FILE]


def left_since(before: dict[str, set[str]], podman: IsolatedPodman) -> dict[str, set[str]]:
    """What is in Podman that was not there before, other than the container that keeps the CLI mounted for all runs."""
    now = on_the_node(podman)
    kept = {name for name in now["containers"] if name.startswith("stromboli-cli-")}
    return {kind: new for kind, names in now.items() if (new := names - before[kind] - kept)}


def test_a_stack_without_a_named_session_goes_with_its_run(
    space: Runs, project: Project, isolated_podman: IsolatedPodman, host: Host
) -> None:
    before = on_the_node(isolated_podman)
    spec = project.spec("create.yaml", CREATE)
    del spec["session"]
    done = space.run("alone", within=WITHIN, **spec)
    assert "lava" in completed(done)
    host.until(lambda: left_since(before, isolated_podman) == {}, "nothing is left of the stack")


def test_a_database_that_does_not_start_is_named_with_its_last_words(space: Runs, project: Project) -> None:
    text = "services: {dev: {image: 'python:3.12', depends_on: [db]}, db: {image: 'postgres:16'}}"
    environment = {"type": "compose", "inline": text, "service": "dev", "images": {"dev": project.workbench}}
    ended = condition(space.run("no-password", within=WITHIN, prompt="ECHO{never}", environment=environment))
    assert ended["reason"] == "ServiceFailed"
    assert "the service db" in ended["message"]
    assert "set POSTGRES_PASSWORD" in ended["message"]
