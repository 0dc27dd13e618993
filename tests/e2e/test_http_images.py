"""The calls about images as the documentation prints them, with a real registry, which is the mirror of docker.io."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client

from tests.support import http_api as http
from tests.support import light_cli
from tests.support.agentimages import AgentImages
from tests.support.cluster import Kubectl
from tests.support.documents import DOCUMENTS, blocks
from tests.support.gateways import GatewayProcess, until
from tests.support.http_api import HttpApi, Typed
from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.registry import HUB_FOLDER, Registry
from tests.support.registry import closed_registry as closed_registry
from tests.support.registry import open_registry as open_registry
from tests.support.registry import registry_podman as registry_podman
from tests.support.registry import registry_program as registry_program
from tests.support.runs import Runs, condition, make_namespace

SPACE = "http-images"
PYTHON = "docker.io/library/python"
SECONDS = 120.0


@pytest.fixture(scope="module")
def api(
    registry_podman: IsolatedPodman,
    open_registry: Registry,
    isolated_podman: IsolatedPodman,
    python_image: str,
    operator_kubeconfig: Path,
    folder: Path,
    runtime_dir: Path,
    kubectl: Kubectl,
    client: Client,
    light_spec: dict[str, Any],
    gateway: GatewayProcess,
) -> Iterator[HttpApi]:
    """A user of a namespace whose policy allows Docker Hub's python and a team's images; an operator on that Podman."""
    for name in (f"{HUB_FOLDER}/library/python:3.12", "team/tool:1"):
        open_registry.push(isolated_podman, python_image, name)
    light_cli.build(registry_podman.env)
    make_namespace(client, SPACE, own_policies=True)
    runs = Runs(kubectl, client, SPACE)
    policy = runs.policy(
        "images", **{**light_spec, "images": {"allowed": ["python:*", f"{open_registry.address}/team/*"]}}
    )
    with OperatorProcess(folder / "http-images", runtime_dir, operator_kubeconfig, registry_podman.socket):
        made = HttpApi(gateway, kubectl, SPACE, http.user(kubectl, SPACE))
        until(lambda: made.call("GET", "/images").status == 200, "the operator says where it listens")
        yield made
        AgentImages(client, SPACE).clear()
        runs.clear()
    kubectl("delete", "agentpolicy", policy)


@pytest.fixture(scope="module")
def typed(api: HttpApi, folder: Path) -> Typed:
    return http.shell(api, folder / "curl", SPACE)


@pytest.fixture(scope="module")
def pulled(typed: Typed) -> Any:
    return typed("""curl -X POST localhost:8080/images/pull \\\n-d '{"image": "python:3.12"}'""")


def test_a_search(typed: Typed) -> None:
    [found] = typed('curl "localhost:8080/images/search?q=python"')["results"]
    assert found["name"].endswith("library/python")
    assert found.keys() == {"index", "name", "description", "stars", "official", "automated"}


def test_the_guide_s_commands(pulled: Any, typed: Typed) -> None:
    """Those of docs/http.md, as printed."""
    [block] = [
        block
        for path in DOCUMENTS
        for block in blocks(path)
        if str(block).startswith("http.md") and block.where == "registry"
    ]
    search, pull = (typed(f"STROMBOLI_URL=http://localhost:8080\n{line}") for line in block.text.splitlines())
    assert search["results"]
    assert pull == pulled


def test_a_pull(pulled: Any, api: HttpApi, registry_podman: IsolatedPodman) -> None:
    image = registry_podman.run("image", "inspect", "--format", "{{.Id}}", f"{PYTHON}:3.12")
    assert pulled == {"success": True, "image_id": f"sha256:{image}", "image": "python:3.12"}
    [found] = json.loads(api.kubectl("-n", SPACE, "get", "agentimages", "-o", "json"))["items"]
    assert condition(found, "Ready")["reason"] == "Present"
    again = api.call("POST", "/images/pull", {"image": f"{PYTHON}:3.12", "platform": "linux/amd64"}, within=5.0)
    assert again.body == {**pulled, "image": f"{PYTHON}:3.12"}, "of what is there, the answer comes at once"
    other = api.call("POST", "/images/pull", {"image": "python:3.12", "platform": "linux/arm64"})
    assert (other.status, other.body["details"]) == (400, {"field": "platform"})
    assert len(json.loads(api.kubectl("-n", SPACE, "get", "agentimages", "-o", "json"))["items"]) == 1


def test_the_list_and_what_is_in_an_image(pulled: Any, typed: Typed, api: HttpApi) -> None:
    [row] = typed("curl localhost:8080/images")["images"]
    assert (row["id"], row["repository"], row["tag"]) == (pulled["image_id"], PYTHON, "3.12")
    assert (row["compatibility_rank"], row["compatible"], "python" in row["tools"]) == (3, True, True)
    for name in ("python:3.12", f"{PYTHON}:3.12", f"{PYTHON}:3.12".replace("/", "%2F").replace(":", "%3A")):
        told = typed(f"curl localhost:8080/images/{name}")
        assert {key: told[key] for key in row} == row
        assert told["found"]["libc"]["family"] == "glibc"
        assert told["refusal"] == ""


def test_why_an_image_cannot_be_had(pulled: Any, api: HttpApi, open_registry: Registry) -> None:
    for image, status, reason in (
        ("node:20", 400, "ImageNotAllowed"),
        (f"{open_registry.address}/team/none:1", 502, "ImagePullFailed"),
        ("no image", 400, "InvalidRequest"),
    ):
        answer = api.call("POST", "/images/pull", {"image": image})
        assert (answer.status, answer.body["reason"]) == (status, reason), answer.body
    assert len(json.loads(api.kubectl("-n", SPACE, "get", "agentimages", "-o", "json"))["items"]) == 1
    missing = api.call("GET", "/images/python:none")
    assert (missing.status, missing.body["reason"]) == (404, "ImageMissing")
    other = api.call("GET", "/images", headers={"X-Stromboli-Namespace": "default"})
    assert (other.status, other.body["reason"]) == (403, "Forbidden")


def test_the_end_of_a_pull_as_an_event(api: HttpApi, open_registry: Registry) -> None:
    body = {"image": f"{open_registry.address}/team/tool:1"}
    with api.stream("POST", "/images/pull", body) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        *_, event, data = [line for line in answer.iter_lines() if line]
    assert event == "event: done"
    assert json.loads(data.removeprefix("data: "))["image"] == body["image"]
