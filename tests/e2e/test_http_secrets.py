"""Secrets by HTTP: from their creation to the agent that is given one, and nothing of their values anywhere else."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.support.http_api import HttpApi

VALUE = "ghp_5e1f0c93a7\nsecond line of 71d2"
WORDS = ("ghp_5e1f0c93a7", "71d2", base64.b64encode(VALUE.encode()).decode()[:12])


@pytest.fixture
def secret(http_api: HttpApi) -> str:
    """A secret of a name that no object can have."""
    name = "GitHub_Token"
    made = http_api.call("POST", "/secrets", {"name": name, "value": VALUE})
    assert (made.status, made.body) in ((201, {"success": True, "name": name}), (409, made.body)), made.body
    return name


def test_from_creation_to_deletion(http_api: HttpApi) -> None:
    for name in ("plain", "With_Capitals"):
        made = http_api.call("POST", "/secrets", {"name": name, "value": VALUE})
        assert (made.status, made.body) == (201, {"success": True, "name": name})
        again = http_api.call("POST", "/secrets", {"name": name, "value": "other"})
        assert (again.status, again.body["reason"]) == (409, "AlreadyExists")
    http_api.kubectl("-n", http_api.namespace, "create", "secret", "generic", "not-ours", "--from-literal=value=x")
    listed = http_api.call("GET", "/secrets")
    shown = [http_api.call("GET", f"/secrets/{name}") for name in ("With_Capitals", "plain")]
    assert listed.body == {"secrets": [each.body for each in shown]}
    assert shown[0].body.keys() == {"id", "name", "created_at"}
    assert http_api.call("GET", "/secrets/not-ours").status == 404
    assert http_api.call("DELETE", "/secrets/not-ours").status == 404
    for name in ("plain", "With_Capitals"):
        assert http_api.call("DELETE", f"/secrets/{name}").body == {"success": True, "name": name}
        assert http_api.call("DELETE", f"/secrets/{name}").status == 404
    left = http_api.kubectl("-n", http_api.namespace, "get", "secrets", "-o", "name").split()
    assert left == ["secret/not-ours"]


def test_what_the_api_server_refuses_has_nothing_of_the_value(http_api: HttpApi) -> None:
    others = {"X-Stromboli-Namespace": "default"}
    refused = http_api.call("POST", "/secrets", {"name": "token", "value": VALUE}, headers=others)
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    for call in (("GET", "/secrets"), ("GET", "/secrets/token"), ("DELETE", "/secrets/token")):
        assert http_api.call(*call, headers=others).status == 403
    assert http_api.call("GET", "/secrets", token="not.a.token").status == 401
    largest = http_api.call("POST", "/secrets", {"name": "largest", "value": "x" * (1024 * 1024 - 1024)})
    assert largest.status == 201, largest.body
    assert http_api.call("DELETE", "/secrets/largest").status == 200


def test_a_run_is_given_it(http_api: HttpApi, secret: str, python_image: str) -> None:
    shell = 'printf %s "$GH_TOKEN" | sha256sum; echo "it is $GH_TOKEN"'
    body: dict[str, Any] = {
        "prompt": f"BASH{{{shell}}}",
        "claude": {"dangerously_skip_permissions": True},
        "podman": {"image": python_image, "secrets_env": {"GH_TOKEN": secret}},
    }
    answer = http_api.call("POST", "/run", body)
    assert (answer.status, answer.body["status"]) == (200, "completed"), answer.body
    assert hashlib.sha256(VALUE.encode()).hexdigest() in answer.body["output"]
    run = http_api.kubectl("-n", http_api.namespace, "get", "agentruns.stromboli.dev", answer.body["id"], "-o", "json")
    events = http_api.kubectl("-n", http_api.namespace, "get", "events", "-o", "json")
    for text in (json.dumps(answer.body), run, events):
        assert [word for word in WORDS if word in text] == []


def test_no_log_of_the_gateway_has_a_value(http_api: HttpApi, secret: str) -> None:
    log = http_api.gateway.log.read_text()
    assert "POST /secrets" in log
    assert [word for word in WORDS if word in log] == []
