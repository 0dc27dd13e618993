"""The gateway's HTTP API as a process: how it and what it needs are, and that it serves again once it was killed."""

from __future__ import annotations

from tests.support.gateways import until
from tests.support.http_api import NO_TOKEN, HttpApi
from tests.support.operator import OperatorProcess


def test_a_gateway_that_is_killed_serves_again_on_its_port(http_api: HttpApi) -> None:
    assert http_api.call("GET", "/health", token=NO_TOKEN).body["version"] == "0.4.0"
    http_api.kill()
    http_api.start()
    until(lambda: http_api.call("GET", "/health", token=NO_TOKEN).status == 200, "all is well again")


def test_how_the_parts_are(http_api: HttpApi, steady_operator: OperatorProcess) -> None:
    def status() -> int:
        return http_api.call("GET", "/health", token=NO_TOKEN).status

    until(lambda: status() == 200, "an operator is ready")
    steady_operator.stop()
    try:
        until(lambda: status() == 503, "it is noticed that no operator is there")
        told = http_api.call("GET", "/health", token=NO_TOKEN).body
        assert [part["status"] for part in told["components"]] == ["ok", "error"]
        assert told["components"][1]["error"] == "no operator is ready: no answer"
    finally:
        steady_operator.start()
    until(lambda: status() == 200, "it is noticed that one is there again")


def test_whether_runs_of_the_namespace_have_credentials(http_api: HttpApi) -> None:
    told = http_api.call("GET", "/claude/status")
    assert told.status == 200, told.body
    assert told.body == {
        "configured": True,
        "message": f"runs of the namespace {http_api.namespace} have credentials for Claude",
    }
    other = http_api.call("GET", "/claude/status", headers={"X-Stromboli-Namespace": "default"})
    assert (other.status, other.body["reason"]) == (403, "Forbidden")
