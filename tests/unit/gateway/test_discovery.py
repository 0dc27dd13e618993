"""What the gateway says by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.gateway import discovery
from stromboli.naming import AGENTS_API

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def document(path: str) -> Any:
    return json.loads(discovery.pages("1.2.3")[path].content)


def test_nothing_can_be_listed_or_deleted_or_watched() -> None:
    """Or the namespace controller, the garbage collector, backups and others would try, of every namespace."""
    for resource in document(AGENTS_API)["resources"]:
        assert resource["verbs"] == ["get"], resource["name"]
        assert resource["namespaced"]


def test_the_documents_agree_about_the_group() -> None:
    [group] = document("/apis")["groups"]
    assert document(f"/apis/{group['name']}")["versions"] == group["versions"]
    assert document(AGENTS_API)["groupVersion"] == group["preferredVersion"]["groupVersion"]
    assert document("/version")["gitVersion"] == "v1.2.3"


def test_openapi_leads_to_a_document_by_its_hash() -> None:
    [(path, found)] = document("/openapi/v3")["paths"].items()
    url, _, known = found["serverRelativeURL"].partition("?hash=")
    assert (url, f"/{path}") == (f"/openapi/v3{AGENTS_API}", AGENTS_API)
    pages = discovery.pages("1.2.3")
    assert pages[url].hash == known
    assert pages[url].hash != discovery.pages("1.2.4")[url].hash
    assert document(url)["paths"].keys() == document("/openapi/v2")["paths"].keys()


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [path["get"]["operationId"] for path in document("/openapi/v2")["paths"].values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        ("", True),
        ("*/*", True),
        ("application/json", True),
        ("application/json;q=0.9, application/vnd.kubernetes.protobuf", True),
        (f"{AGGREGATED},application/json", True),
        (AGGREGATED, False),
        (f"{AGGREGATED}, application/json;g=apidiscovery.k8s.io;v=v2beta1; as = APIGroupDiscoveryList", False),
        ("application/vnd.kubernetes.protobuf", False),
    ],
)
def test_aggregated_discovery_alone_is_not_answered(accept: str, accepted: bool) -> None:
    assert discovery.accepts_json(accept) is accepted
