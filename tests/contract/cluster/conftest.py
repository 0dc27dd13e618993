"""The fake cluster and a real API server, each with what a test does to it: both are asked the same.

The real one is a control plane of the tests here, since one of them takes its kinds away.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Event, Secret
from lightkube.types import PatchType

from stromboli.controlplane.cluster import Cluster as ControlPlane
from stromboli.kube import objects
from stromboli.kube.client import Cluster
from stromboli.kube.kinds import AgentImageKind, AgentPolicy, AgentRun, AgentSession, Namespace
from stromboli.models.image import AgentImage
from stromboli.models.run import Run
from tests.support.cluster import Kubectl
from tests.support.fake_cluster import FakeCluster, Object
from tests.support.runs import connected, make_namespace

ROOT = Path(__file__).parent.parent.parent.parent
SPEC = {"prompt": "hello", "image": "python:3.12"}
IMAGE = {"image": "python:3.12"}


class Fake:
    """The fake one, and what a test does to it in the namespace `space`."""

    def __init__(self, space: str) -> None:
        self.cluster = FakeCluster()
        self.cluster.labels[space] = {}
        self.space = space

    def run(self, name: str, **more: Any) -> Run:
        return objects.run(self.cluster.add_run(self.space, name, {**SPEC, **more}))

    def delete(self, name: str) -> None:
        self.cluster.delete_run(self.space, name)

    def annotate(self, name: str) -> None:
        self.cluster.change(
            self.space, name, lambda obj: obj["metadata"].setdefault("annotations", {}).update(at=str(uuid.uuid4()))
        )

    def image(self, name: str, **spec: Any) -> AgentImage:
        return objects.image(self.cluster.add_image(self.space, name, {**IMAGE, **spec}))

    def change_image(self, name: str, **spec: Any) -> AgentImage:
        return objects.image(self.cluster.change_image(self.space, name, **spec))

    def delete_image(self, name: str) -> None:
        self.cluster.delete_image(self.space, name)

    def secret(self, name: str, data: Mapping[str, bytes]) -> None:
        self.cluster.secrets[self.space, name] = dict(data)

    def config_map(self, name: str, data: Mapping[str, bytes]) -> None:
        self.cluster.config_maps[self.space, name] = dict(data)

    def policy(self, name: str) -> None:
        meta = {"name": name, "generation": 1, "resourceVersion": "0"}
        obj = {"metadata": meta, "spec": {"network": "none"}, "status": {"observedGeneration": -1}}
        self.cluster.all_policies.append(obj)

    def label(self, key: str, value: str) -> None:
        self.cluster.labels[self.space] = {key: value}

    def events(self) -> list[Object]:
        return list(self.cluster.events.values())

    def unreachable(self) -> Cluster:
        gone = FakeCluster()
        gone.away = True
        return gone


class Real:
    """The real one, and what a test does to it as the administrator, over one connection for the module."""

    def __init__(self, admin: Client, nowhere: Callable[[], Cluster], space: str) -> None:
        self.cluster = Cluster()
        self.space = space
        self.unreachable = nowhere
        self._admin = admin

    def run(self, name: str, **more: Any) -> Run:
        spec = {**SPEC, **more}
        return objects.run(dict(self._admin.create(AgentRun(metadata=self._named(name), spec=spec))))

    def delete(self, name: str) -> None:
        self._admin.delete(AgentRun, name, namespace=self.space)

    def annotate(self, name: str) -> None:
        body = {"metadata": {"annotations": {"at": str(uuid.uuid4())}}}
        self._admin.patch(AgentRun, name, body, namespace=self.space, patch_type=PatchType.MERGE)

    def image(self, name: str, **spec: Any) -> AgentImage:
        made = self._admin.create(AgentImageKind(metadata=self._named(name), spec={**IMAGE, **spec}))
        return objects.image(dict(made))

    def change_image(self, name: str, **spec: Any) -> AgentImage:
        body = {"spec": spec}
        made = self._admin.patch(AgentImageKind, name, body, namespace=self.space, patch_type=PatchType.MERGE)
        return objects.image(dict(made))

    def delete_image(self, name: str) -> None:
        self._admin.delete(AgentImageKind, name, namespace=self.space)

    def secret(self, name: str, data: Mapping[str, bytes]) -> None:
        encoded = {k: base64.b64encode(v).decode() for k, v in data.items()}
        self._admin.create(Secret(metadata=self._named(name), data=encoded))

    def config_map(self, name: str, data: Mapping[str, bytes]) -> None:
        texts = {k: v.decode() for k, v in data.items() if v.isascii()}
        rest = {k: base64.b64encode(v).decode() for k, v in data.items() if not v.isascii()}
        self._admin.create(ConfigMap(metadata=self._named(name), data=texts, binaryData=rest))

    def policy(self, name: str) -> None:
        self._admin.create(AgentPolicy(metadata=ObjectMeta(name=name), spec={"network": "none"}))

    def label(self, key: str, value: str) -> None:
        self._admin.patch(Namespace, self.space, {"metadata": {"labels": {key: value}}})

    def events(self) -> list[Object]:
        return [event.to_dict() for event in self._admin.list(Event, namespace=self.space)]

    def clear(self) -> None:
        """Remove what lists of all namespaces would show to the next test; the rest goes with the control plane."""
        for kind in (AgentRun, AgentSession, AgentImageKind):
            self._admin.deletecollection(kind, namespace=self.space)
        self._admin.deletecollection(AgentPolicy)

    def _named(self, name: str) -> ObjectMeta:
        return ObjectMeta(name=name, namespace=self.space)


Bed = Fake | Real


@pytest.fixture(scope="module")
def installed(admin: Kubectl) -> None:
    admin("apply", "--server-side", "-f", str(ROOT / "crds"))
    admin("wait", "--for=condition=Established", "--timeout=20s", "-f", str(ROOT / "crds"))


@pytest.fixture(scope="module")
def administrator(own: ControlPlane) -> Iterator[Client]:
    with connected(own.kubeconfig) as made:
        yield made


@pytest.fixture(scope="module")
def nowhere(own: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig that leads to a port on which nobody listens."""
    config = yaml.safe_load(own.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:9"}
    path = tmp_path_factory.mktemp("nowhere") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
async def real(
    installed: None, own: ControlPlane, administrator: Client, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Real]:
    gone: list[Cluster] = []

    def unreachable() -> Cluster:
        with monkeypatch.context() as patch:
            patch.setenv("KUBECONFIG", str(nowhere))
            gone.append(Cluster())
        return gone[-1]

    monkeypatch.setenv("KUBECONFIG", str(own.kubeconfig))
    bed = Real(administrator, unreachable, f"contract-{uuid.uuid4().hex[:12]}")
    make_namespace(administrator, bed.space)
    yield bed
    bed.clear()
    for cluster in (bed.cluster, *gone):
        await cluster.close()


@pytest.fixture
def fake() -> Fake:
    return Fake("contract")


@pytest.fixture(params=["fake", "real"])
def bed(request: pytest.FixtureRequest) -> Bed:
    found: Bed = request.getfixturevalue(request.param)
    return found
