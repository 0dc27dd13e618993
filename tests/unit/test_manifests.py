"""manifests/ say what the code does: its calls, its version, its settings. tests/e2e applies them."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from stromboli import naming, settings
from stromboli.kube import client, objects
from stromboli.kube.client import Cluster
from stromboli.kube.plain import Plain
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentsession import AgentSessionSpec

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "operator/stromboli"
# Methods of HTTP → verbs of RBAC; a GET of a collection is a list.
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
META = {"uid": "u", "name": "n", "namespace": "s", "resourceVersion": "1", "generation": 1}
WIRE = {"metadata": META, "spec": {}, "status": {}}


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "manifests" / name).read_text()))


def _container() -> dict[str, Any]:
    [container] = _documents("operator.yaml")[0]["spec"]["template"]["spec"]["containers"]
    return dict(container)


async def test_the_operators_role_has_exactly_the_verbs_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    [role] = [
        d
        for d in _documents("rbac.yaml")
        if d["kind"] == "ClusterRole" and d["metadata"]["name"] == "stromboli-operator"
    ]
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    used: dict[tuple[str, str], set[str]] = defaultdict(set)
    for resource, verb in [*await _calls_of_the_client(monkeypatch), *_watches_by_kopf()]:
        used[resource].add(verb)
    assert granted == used


class Recorded(Plain):
    """A connection that answers every request with one object, which is a list of itself, and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def _answer(self, method: str, path: str, *_: Any, **__: Any) -> bytes:
        self.asked.append((method, path))
        return msgspec.json.encode({**WIRE, "items": []})


async def _calls_of_the_client(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, str], str]]:
    """All that kube/client.py ever asks: each of its methods, where writes go through and where they lose."""
    cluster, plain = Cluster.__new__(Cluster), Recorded()
    cluster._over(plain)
    called = await _called(cluster, lost=False)
    monkeypatch.setattr(client, "TRIES", 0)
    called |= await _called(cluster, lost=True)
    public = {name for name in vars(Cluster) if not name.startswith("_")}
    assert public - called == {"close", "plain", "serves_its_kinds"}, "which need no permission of their own"
    return [_permission(method, path) for method, path in plain.asked]


async def _called(cluster: Cluster, *, lost: bool) -> set[str]:
    run, session, policy = objects.run(WIRE), objects.session(WIRE), objects.policy(WIRE)
    policy, image = replace(policy, namespace=""), objects.image(WIRE)
    await cluster.write_status(run, run.status)
    await cluster.write_status(session, session.status)
    await cluster.write_status(image, image.status)
    await cluster.write_status(policy, policy.status)
    await cluster.write_spec(session, {})
    if lost:
        return {"write_status", "write_spec"}
    await cluster.installation()
    await cluster.namespace_labels("n")
    await cluster.has_namespace("n")
    for call in (
        cluster.run,
        cluster.answered_run,
        cluster.followed_run,
        cluster.session,
        cluster.session_outline,
        cluster.image,
    ):
        await call("s", "n")
    for data in (cluster.config_map_data, cluster.secret_data):
        await data("s", "n")
    async with cluster.whole_run("s", "n"):
        pass
    for listed in (cluster.runs(), cluster.sessions(), cluster.images()):
        assert [obj async for obj in listed] == []
    await cluster.policies()
    await cluster.run_heads("s", "n")
    await cluster.create_session("s", "n", AgentSessionSpec())
    await cluster.write_notification(run, {})
    await cluster.delete_session("s", "n")
    await cluster.delete_finished_run("s", "n", "u", "1")
    await cluster.post_event({"metadata": {"namespace": "s", "name": "n"}, "reason": "R"})
    names = (
        "installation namespace_labels has_namespace run answered_run followed_run session session_outline "
        "config_map_data secret_data whole_run runs sessions image images policies run_heads create_session "
        "delete_session delete_finished_run write_notification post_event"
    )
    return set(names.split())


def _permission(method: str, path: str) -> tuple[tuple[str, str], str]:
    """What RBAC has to grant for a request: (group, resource with its subresource), and the verb."""
    kind, *rest = path.strip("/").split("/")
    group = rest.pop(0) if kind == "apis" else ""
    rest.pop(0)  # the version
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    verb = "list" if method == "GET" and len(rest) == 1 else VERBS[method]
    return (group, "/".join([rest[0], *rest[2:]])), verb


def _watches_by_kopf() -> Iterator[tuple[tuple[str, str], str]]:
    """`@kopf.on.event(GROUP, VERSION, "…")`, the only kind of handler for objects."""
    for call in _calls(PACKAGE / "handlers/watches.py"):
        name = ast.unparse(call.func)
        if name.startswith("kopf.on.") and name not in ("kopf.on.startup", "kopf.on.cleanup", "kopf.on.login"):
            assert name == "kopf.on.event", name
            for verb in ("list", "watch"):
                yield (naming.GROUP, ast.literal_eval(call.args[2])), verb


def _calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))


def test_lightkube_and_kopf_are_used_nowhere_else() -> None:
    """Or the test above would not see what they are used for."""
    imports = {"lightkube": "kube/", "kopf": "handlers/"}
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        if not any(name in text for name in imports):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name, place in imports.items():
                if name in [n.partition(".")[0] for n in names]:
                    assert str(file.relative_to(PACKAGE)).startswith(place), f"{file} imports {name}"


def test_the_images_tag_is_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = _container()["image"]
    assert image.endswith(f":{version}")
    assert f"-t {image} ." in (ROOT / "manifests/Containerfile").read_text()


def test_its_settings_are_read_as_they_are_meant() -> None:
    given = {e["name"]: e.get("value", "a-node") for e in _container()["env"]}
    read = settings.load(given)
    assert read.warnings == ()
    assert (str(read.home), str(read.runtime_dir)) == (given["STROMBOLI_HOME"], given["STROMBOLI_RUNTIME_DIR"])
    assert f"unix://{read.podman_socket}" == given["CONTAINER_HOST"]
    assert read.node == "a-node"


def test_the_default_policy_is_valid_and_allows_no_host_path() -> None:
    [policy] = _documents("policy.yaml")
    spec = AgentPolicySpec.model_validate(policy["spec"])
    assert spec.images is not None
    assert spec.images.allowed
    assert spec.volumes is not None
    assert spec.volumes.allowed == []


def test_the_image_is_built_from_what_is_there_and_checked() -> None:
    """Here only what a reader would check; building it takes a base image and a network."""
    lines = (ROOT / "manifests/Containerfile").read_text().splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert any("--require-hashes -r /src/requirements.lock" in line for line in lines)
    assert any("install" in line and "busybox-static" in line for line in lines)
    assert [line for line in lines if line.startswith("FROM ") and not line.startswith("FROM ${BASE}")] == []
