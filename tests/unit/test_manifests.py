"""manifests/ say what the code does: its calls, its version, its settings. tests/e2e applies them."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stromboli import settings
from stromboli.kube import client, reviews
from stromboli.models.agentpolicy import AgentPolicySpec

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "operator/stromboli"
# lightkube's methods (and kopf's handler for events, which lists and watches) → verbs of RBAC.
VERBS = {
    "get": ["get"],
    "_content": ["get"],
    "list": ["list"],
    "heads": ["list"],
    "create": ["create"],
    "replace": ["update"],
    "delete": ["delete"],
    "event": ["list", "watch"],
}


KINDS = [name for name, value in vars(client).items() if hasattr(value, "_api_info")]


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "manifests" / name).read_text()))


def _container() -> dict[str, Any]:
    [container] = _documents("operator.yaml")[0]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_operators_role_has_exactly_the_verbs_that_are_used() -> None:
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
    for resource, verb in [*_calls_by_lightkube(), *_reviews(), *_watches_by_kopf()]:
        used[resource].add(verb)
    assert granted == used


def _calls_by_lightkube() -> Iterator[tuple[tuple[str, str], str]]:
    """`self._client.METHOD(KIND, …)` in the module that alone makes such calls.

    `self._plain` has methods like lightkube's client, and `partial` may stand around them; `self._content` reads.
    """
    for call in _calls(PACKAGE / "kube/client.py"):
        words = [ast.unparse(part) for part in (call.func, *call.args)]
        where, _, method = words[words[0] == "partial"].rpartition(".")
        kinds = [word.partition(".") for word in words if word.partition(".")[0] in KINDS]
        if method not in VERBS or where not in ("self._client", "self._plain", "self") or not kinds:
            continue
        kind, _, rest = kinds[0]
        info = getattr(client, kind)._api_info
        subresource = "/status" if rest.startswith("Status") else ""
        for verb in VERBS[method]:
            yield (info.resource.group, info.plural + subresource), verb


def _reviews() -> Iterator[tuple[tuple[str, str], str]]:
    """What `kube/reviews.py` has kinds for, all of which it creates."""
    for kind in (reviews.TokenReview, reviews.SubjectAccessReview):
        info = kind._api_info
        yield (info.resource.group, info.plural), "create"


def _watches_by_kopf() -> Iterator[tuple[tuple[str, str], str]]:
    """`@kopf.on.event(GROUP, VERSION, "…")`, the only kind of handler for objects."""
    for call in _calls(PACKAGE / "handlers/watches.py"):
        name = ast.unparse(call.func)
        if name.startswith("kopf.on.") and name not in ("kopf.on.startup", "kopf.on.cleanup", "kopf.on.login"):
            assert name == "kopf.on.event", name
            for verb in VERBS["event"]:
                yield (client.GROUP, ast.literal_eval(call.args[2])), verb


def _calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))


def test_lightkube_and_kopf_are_used_nowhere_else() -> None:
    """Or the test above would not see what they are used for."""
    imports = {"lightkube": "kube/", "kopf": "handlers/"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
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
