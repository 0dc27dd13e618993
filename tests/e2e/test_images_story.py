"""README's "Finding images" as printed: search, pull, list, inspect, with a real registry; then a run in the image.

The operator's Podman has a registry as the mirror of docker.io, and searches that one and another that does not answer.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.naming import AGENTS_API
from tests.support import light_cli
from tests.support.agentimages import AgentImages
from tests.support.cluster import Kubectl
from tests.support.documents import DOCUMENTS, blocks
from tests.support.gateways import GatewayProcess, until
from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.registry import HUB_FOLDER, NOBODY, Registry
from tests.support.registry import closed_registry as closed_registry
from tests.support.registry import open_registry as open_registry
from tests.support.registry import registry_podman as registry_podman
from tests.support.registry import registry_program as registry_program
from tests.support.runs import Runs, condition, make_namespace

SPACE = "finding-images"
IMAGE = "docker.io/library/python:3.12"
SECONDS = 120.0
Typed = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def finding(
    registry_podman: IsolatedPodman,
    open_registry: Registry,
    isolated_podman: IsolatedPodman,
    python_image: str,
    operator_kubeconfig: Path,
    folder: Path,
    runtime_dir: Path,
    kubectl: Kubectl,
    client: Any,
    light_spec: dict[str, Any],
    gateway: GatewayProcess,
) -> Iterator[Runs]:
    """A namespace whose policy allows Docker Hub's python and a team's images, and an operator on that Podman."""
    open_registry.push(isolated_podman, python_image, f"{HUB_FOLDER}/library/python:3.12")
    light_cli.build(registry_podman.env)
    make_namespace(client, SPACE, own_policies=True)
    runs = Runs(kubectl, client, SPACE)
    policy = runs.policy(
        "images", **{**light_spec, "images": {"allowed": ["python:*", f"{open_registry.address}/team/*"]}}
    )
    images = f"{AGENTS_API}/namespaces/{SPACE}/images"
    with OperatorProcess(folder / "finding", runtime_dir, operator_kubeconfig, registry_podman.socket):
        until(lambda: kubectl.attempt("get", "--raw", images).returncode == 0, "the operator says where it listens")
        yield runs
        AgentImages(client, SPACE).clear()
        runs.clear()
    kubectl("delete", "agentpolicy", policy)


@pytest.fixture(scope="module")
def typed(finding: Runs, cluster: Cluster, programs: Binaries, folder: Path) -> Typed:
    """Types commands into a shell, as a user whose kubeconfig has that namespace."""
    place = folder / "typed"
    place.mkdir()
    config = json.loads(finding.kubectl("config", "view", "--raw", "-o", "json"))
    for context in config["contexts"]:
        context["context"]["namespace"] = SPACE
    (place / "kubeconfig").write_text(json.dumps(config))
    (place / "stromboli").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m stromboli "$@"\n')
    (place / "stromboli").chmod(0o755)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STROMBOLI_")},
        "PATH": f"{place}:{programs.folder}:{os.environ['PATH']}",
        "KUBECONFIG": str(place / "kubeconfig"),
        "STROMBOLI_HOME": str(folder / "finding"),
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-ec", script]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)

    return run


@pytest.fixture(scope="module")
def story(typed: Typed) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each command of the documents gave, by the command; those by HTTP are run by test_http_images."""
    documents = [path for path in DOCUMENTS if path.name != "http.md"]
    scripts = [block.text for path in documents for block in blocks(path) if block.where == "registry"]
    lines = [line.partition("#")[0].strip() for script in scripts for line in script.splitlines()]
    return {line: typed(line) for line in lines if line}


def test_every_command_succeeds(story: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert {line: done.stderr for line, done in story.items() if done.returncode} == {}
    assert len(story) >= 4


def test_a_search_shows_what_registries_have_and_names_those_that_do_not_answer(
    story: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    done = story["stromboli images search python"]
    assert "library/python" in done.stdout
    assert NOBODY in done.stderr


def test_what_was_pulled_is_in_the_list_with_what_is_in_it(
    story: dict[str, subprocess.CompletedProcess[str]], finding: Runs, typed: Typed
) -> None:
    assert IMAGE in story["stromboli images pull python:3.12"].stdout
    [row] = [line for line in story["stromboli images"].stdout.splitlines() if "python" in line]
    assert "glibc 2." in row
    inspected = story["stromboli images inspect python:3.12"].stdout
    assert "glibc 2." in inspected
    assert "python 3." in inspected
    [image] = json.loads(finding.kubectl("-n", SPACE, "get", "agentimages", "-o", "json"))["items"]
    assert condition(image, "Ready")["reason"] == "Present"
    assert typed("stromboli images -o name").stdout.split() == [IMAGE]


def test_a_run_starts_in_what_was_pulled(
    story: dict[str, subprocess.CompletedProcess[str]], finding: Runs, registry_podman: IsolatedPodman
) -> None:
    done = finding.run("in-it", prompt="ECHO{found}", image="python:3.12")
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    assert done["status"]["image"]["id"] == registry_podman.run("image", "inspect", "--format", "{{.Id}}", IMAGE)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("pull node:20", 10, "not allowed"),
        ("pull {registry}/team/none:1", 11, "team/none:1"),
        ("pull {nobody}/team/none:1", 10, "not allowed"),
        ("inspect node:20", 10, "node"),
        ("inspect python:no-such-tag", 11, "python:no-such-tag"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_of_its_own(
    typed: Typed, open_registry: Registry, command: str, code: int, said: str
) -> None:
    done = typed(f"stromboli images {command.format(registry=open_registry.address, nobody=NOBODY)}")
    assert (done.returncode, said in done.stderr) == (code, True), done.stdout + done.stderr
