"""manifests/ say of the gateway what its code does: its calls, its names, its settings. tests/contract runs it so."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

from stromboli import naming
from stromboli.errors import HttpRefused
from stromboli.gateway import discovery, settings
from stromboli.kube.aggregation import Aggregation
from stromboli.kube.plain import Plain
from stromboli.kube.system import System

ROOT = Path(__file__).parent.parent.parent
SYSTEM = "stromboli-system"
GATEWAY, OPERATOR = "stromboli-gateway", "stromboli-operator"
VERBS = {"GET": "get", "POST": "create", "PATCH": "patch"}


class Permission(NamedTuple):
    """One verb on one object, or, without a name, on all of a kind; without a namespace, in all."""

    namespace: str
    group: str
    resource: str
    name: str
    verb: str


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "manifests" / name).read_text()))


def _of_kind(kind: str, name: str = "gateway.yaml") -> dict[str, Any]:
    [found] = [document for document in _documents(name) if document["kind"] == kind]
    return dict(found)


def _container() -> dict[str, Any]:
    [container] = _of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(container)


def _granted(account: str) -> set[Permission]:
    """What the bindings of an account give it, but for roles that are not ours."""
    documents = _documents("rbac.yaml")
    roles = {
        (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]): d["rules"]
        for d in documents
        if "rules" in d
    }
    granted = set()
    for binding in (d for d in documents if d["kind"].endswith("Binding")):
        if not any(s["kind"] == "ServiceAccount" and s["name"] == account for s in binding["subjects"]):
            continue
        namespace = binding["metadata"].get("namespace", "")
        for rule in roles.get((binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"]), ()):
            granted |= {
                Permission(namespace, group, resource, name, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
                for verb in rule["verbs"]
            }
    return granted


class Recorded(Plain):
    """A connection that notes what was asked. Of objects that it is asked for, there are those whose paths end so."""

    def __init__(self, *there: str) -> None:
        self.asked: set[Permission] = set()
        self._there = there

    async def _answer(self, method: str, path: str, *_: Any, **__: Any) -> bytes:
        kind, *rest = path.strip("/").split("/")
        group = rest.pop(0) if kind == "apis" else ""
        rest.pop(0)  # the version
        namespace = rest[1] if rest[0] == "namespaces" else ""
        resource, *names = rest[2:] if namespace else rest
        self.asked.add(Permission(namespace, group, resource, names[0] if names else "", VERBS[method]))
        if method == "GET" and not path.endswith(self._there):
            raise HttpRefused("there is none", 404)
        return msgspec.json.encode({"metadata": {}, "spec": {}, "data": {}})


async def _shared(plain: Plain, *, publishes: bool) -> None:
    system = System(plain, SYSTEM)
    await system.keys()
    await system.create_keys({"ca.crt": "", "ca.key": ""})
    if publishes:
        await system.publish("node", "127.0.0.1:1")
    await system.operators()


async def test_the_gateways_roles_have_exactly_the_verbs_that_are_used() -> None:
    plain = Recorded("")
    aggregation = Aggregation.__new__(Aggregation)
    aggregation.plain = plain
    for plural in ("agentruns", "agentsessions"):
        await aggregation.located(plural, "s", "n")
    await aggregation.front_proxy()
    await aggregation.api_service_authority()
    await aggregation.set_api_service_authority("")
    await _shared(plain, publishes=False)
    known = {p for p in plain.asked if p.namespace != "kube-system"}
    used = {p if p.namespace != "s" else p._replace(namespace="", name="") for p in known}
    assert _granted(GATEWAY) == used


async def test_the_gateway_may_read_of_the_front_proxy_what_the_api_server_grants() -> None:
    plain = Recorded("")
    aggregation = Aggregation.__new__(Aggregation)
    aggregation.plain = plain
    await aggregation.front_proxy()
    assert plain.asked == {Permission("kube-system", "", "configmaps", "extension-apiserver-authentication", "get")}
    [binding] = [d for d in _documents("rbac.yaml") if d["metadata"].get("namespace") == "kube-system"]
    assert binding["roleRef"]["name"] == "extension-apiserver-authentication-reader"


async def test_the_operators_own_role_has_what_it_shares_with_the_gateway() -> None:
    first, later = Recorded(), Recorded("stromboli-operators")
    for plain in (first, later):
        await _shared(plain, publishes=True)
    granted = _granted(OPERATOR)
    assert granted >= {Permission("", "", resource, "", "get") for resource in ("secrets", "configmaps")}
    used = {p for p in first.asked | later.asked if p.verb != "get"}
    assert {p for p in granted if p.namespace} == used


def test_the_registration_is_of_what_the_gateway_serves() -> None:
    service, registered = _of_kind("Service"), _of_kind("APIService")
    assert registered["metadata"]["name"] == naming.API_SERVICE
    assert (registered["spec"]["group"], registered["spec"]["version"]) == (naming.AGENTS_GROUP, naming.VERSION)
    assert "caBundle" not in registered["spec"], "the gateway writes it, and applying the file again leaves it"
    assert registered["spec"]["service"] == {"name": naming.GATEWAY_SERVICE, "namespace": SYSTEM, "port": 443}
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == (naming.GATEWAY_SERVICE, SYSTEM)


@pytest.mark.parametrize("role", ["stromboli-user", "stromboli-viewer"])
def test_people_may_do_all_that_is_served(role: str) -> None:
    [rules] = [d["rules"] for d in _documents("rbac.yaml") if d["metadata"]["name"] == role]
    granted = {
        resource: set(rule["verbs"])
        for rule in rules
        if rule["apiGroups"] == [naming.AGENTS_GROUP]
        for resource in rule["resources"]
    }
    served = msgspec.json.decode(discovery.pages("1.2.3")[naming.AGENTS_API].content)["resources"]
    assert {name: verbs - {"list"} for name, verbs in granted.items()} == {r["name"]: set(r["verbs"]) for r in served}
    assert granted["images"] == {"get", "list"}, "a request for the path of all of them is a list"


def test_it_is_there_while_one_is_replaced_or_moved() -> None:
    spec = _of_kind("Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    assert _of_kind("PodDisruptionBudget")["spec"] == {"minAvailable": 1, "selector": {"matchLabels": labels}}
    assert _of_kind("Service")["spec"]["selector"] == labels
    assert "nodeSelector" not in spec["template"]["spec"], "operators are bound to nodes, it is not"
    [operator] = _documents("operator.yaml")
    assert operator["spec"]["selector"]["matchLabels"].items() - labels.items(), "the Service selects no operator"


def test_its_settings_are_read_as_they_are_meant() -> None:
    container = _container()
    given = {e["name"]: e.get("value", SYSTEM).replace("$(POD_IP)", "fd00::7") for e in container["env"]}
    read = settings.load(given)
    assert (read.host, read.namespace) == ("fd00::7", SYSTEM)
    [port] = container["ports"]
    assert read.port == port["containerPort"]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"], "scheme": "HTTPS"}


# --- the component for the HTTP API ---


def _one(name: str) -> dict[str, Any]:
    [found] = _documents(name)
    return dict(found)


def test_the_http_api_is_off_unless_the_component_is_named() -> None:
    assert "STROMBOLI_SERVER_ADDRESS" not in {e["name"] for e in _container()["env"]}
    assert "components" not in _one("kustomization.yaml")
    assert "\n# components: [http]" in (ROOT / "manifests/kustomization.yaml").read_text()
    component = _one("http/kustomization.yaml")
    assert component["kind"] == "Component"
    files = {*component["resources"], *(patch["path"] for patch in component["patches"])}
    assert files == {file.name for file in (ROOT / "manifests/http").iterdir()} - {"kustomization.yaml"}


def test_the_component_is_of_the_same_gateway() -> None:
    whole, patch = _of_kind("Deployment"), _one("http/deployment.yaml")
    assert (patch["kind"], patch["metadata"]["name"]) == ("Deployment", whole["metadata"]["name"])
    [added] = patch["spec"]["template"]["spec"]["containers"]
    assert added["name"] == _container()["name"]
    read = settings.load({e["name"]: e["value"] for e in added["env"]})
    [port] = added["ports"]
    assert read.http.server.address == ("", port["containerPort"]), "at every address: for `kubectl port-forward`, too"
    assert read.http.local_kubeconfig is None, "every call needs a token"
    service = _one("http/service.yaml")
    assert service["spec"]["selector"] == whole["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 8080, "targetPort": port["name"]}]
    assert service["metadata"]["name"] != naming.GATEWAY_SERVICE, "that one is the API server's"


def test_it_is_the_operators_image() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [container] = _of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    [operator] = _documents("operator.yaml")[0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == operator["image"]
    assert container["image"].endswith(f":{version}")
