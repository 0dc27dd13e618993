"""How the API server finds the gateway, and what is said if it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stromboli.controlplane.cluster import Cluster
from stromboli.errors import LocalFailure
from stromboli.local import aggregation
from stromboli.local.aggregation import Aggregation
from stromboli.local.kubectl import Kubectl

PATH = "/apis/agents.stromboli.dev/v1alpha1"
SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.agents.stromboli.dev"


class FakeCluster(Cluster):
    """An API server with these answers; the last of a path's is given again and again."""

    def __init__(self, answers: dict[str, list[tuple[int, str]]]) -> None:
        super().__init__(Path("/none"))
        self.answers = answers

    def get(self, path: str) -> tuple[int, str]:
        left = self.answers[path]
        return left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What kubectl was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(Kubectl, "__call__", lambda self, *args: asked.append(" ".join(args[:4])))
    return asked


KUBECTL = Kubectl(Path("/none"), Path("/none"), Path("/none"))
DOWN = json.dumps(
    {"status": {"conditions": [{"type": "Available", "status": "False", "message": "dial tcp: connection refused"}]}}
)


def test_the_way_to_it() -> None:
    namespace, service, registered = aggregation.objects(7443)
    assert namespace["metadata"]["name"] == service["metadata"]["namespace"] == "stromboli-system"
    assert service["spec"] == {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 7443}]}
    assert registered["metadata"]["name"] == "v1alpha1.agents.stromboli.dev"
    assert registered["spec"]["service"] == {"name": "stromboli-gateway", "namespace": "stromboli-system", "port": 7443}
    assert not {"caBundle", "insecureSkipTLSVerify"} & registered["spec"].keys(), "the gateway writes its CA into it"


def test_nothing_is_asked_for_where_it_is_reached(looked: list[str]) -> None:
    made = Aggregation(FakeCluster({PATH: [(200, "{}")]}))
    assert made.problem() is None
    made.await_reached(KUBECTL)
    assert looked == []


def test_the_api_server_is_made_to_look_once(looked: list[str]) -> None:
    """After failures it looks by itself every half minute only."""
    Aggregation(FakeCluster({PATH: [(503, ""), (503, ""), (503, ""), (200, "{}")]})).await_reached(KUBECTL)
    assert looked == ["annotate --overwrite apiservice v1alpha1.agents.stromboli.dev"]


@pytest.mark.parametrize(
    ("answer", "condition", "said"),
    [
        ((503, "service unavailable\n"), (200, DOWN), f"answers 503 for {PATH}: dial tcp: connection refused"),
        ((404, "404 page not found\n"), (404, "{}"), f"answers 404 for {PATH}: 404 page not found"),
        ((503, "service unavailable\n"), (200, "["), f"answers 503 for {PATH}: service unavailable"),
        ((0, "connection refused"), (0, ""), "the API server does not answer: connection refused"),
    ],
)
def test_why_it_is_not_reached(
    answer: tuple[int, str],
    condition: tuple[int, str],
    said: str,
    looked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Aggregation(FakeCluster({PATH: [answer], SERVICE: [condition]}))
    assert said in (made.problem() or "")
    monkeypatch.setattr(aggregation, "_SECONDS", 0.1)
    with pytest.raises(LocalFailure, match="the gateway is not reached") as failure:
        made.await_reached(KUBECTL)
    assert said in str(failure.value)
    assert "stromboli status" in str(failure.value.hint)
