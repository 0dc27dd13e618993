"""Jobs by HTTP, with everything real behind them: the same runs as kubectl's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_api import HttpApi
from tests.support.runs import ENDLESS, condition
from tests.support.waiting import eventually


def start(http_api: HttpApi, prompt: str, image: str, **claude: Any) -> str:
    options = {"dangerously_skip_permissions": True, **claude}
    body = {"prompt": prompt, "claude": options, "podman": {"image": image, "timeout": "2m"}}
    answer = http_api.call("POST", "/run/async", body)
    assert answer.status == 202, answer.body
    name: str = answer.body["job_id"]
    return name


def job(http_api: HttpApi, name: str) -> dict[str, Any]:
    answer = http_api.call("GET", f"/jobs/{name}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


def until(http_api: HttpApi, name: str, status: str) -> dict[str, Any]:
    eventually(lambda: job(http_api, name)["status"] == status, f"it is {status}", lambda: job(http_api, name), 90)
    return job(http_api, name)


def ids(http_api: HttpApi, query: str = "") -> list[str]:
    answer = http_api.call("GET", f"/jobs{query}")
    assert answer.status == 200, answer.body
    return [each["id"] for each in answer.body["jobs"]]


def kubectl_run(http_api: HttpApi, name: str, image: str, prompt: str) -> None:
    spec = {"prompt": prompt, "image": image, "timeout": "2m", "claude": {"permissionMode": "bypassPermissions"}}
    meta = {"name": name, "namespace": http_api.namespace}
    body = {"apiVersion": "stromboli.dev/v1alpha1", "kind": "AgentRun", "metadata": meta, "spec": spec}
    http_api.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def test_a_job_from_its_start_to_its_end(http_api: HttpApi, python_image: str) -> None:
    name = start(http_api, "ECHO{done it}", python_image)
    assert job(http_api, name)["status"] in ("pending", "running", "completed")
    found = until(http_api, name, "completed")
    assert (found["output"], "error" in found, "crash_info" in found) == ("done it", False, False)
    assert found["updated_at"] >= found["created_at"]
    session = json.loads(http_api.kubectl("-n", http_api.namespace, "get", "agentsessions", "-o", "json"))["items"]
    assert found["session_id"] in [each["metadata"]["name"] for each in session]
    assert ids(http_api, f"?session_id={found['session_id']}") == [name]
    late = http_api.call("DELETE", f"/jobs/{name}")
    assert (late.status, late.body["details"]) == (409, {"status": "completed"})


def test_runs_of_kubectl_are_jobs_too(http_api: HttpApi, python_image: str) -> None:
    kubectl_run(http_api, "by-kubectl", python_image, "ECHO{by kubectl}")
    found = until(http_api, "by-kubectl", "completed")
    assert (found["id"], found["output"]) == ("by-kubectl", "by kubectl")
    assert "session_id" not in found
    name = start(http_api, "ECHO{later}", python_image)
    until(http_api, name, "completed")
    assert set(ids(http_api, "?status=completed")) >= {name, "by-kubectl"}
    newest = http_api.call("GET", "/jobs?limit=1").body
    assert (newest["limit"], newest["offset"], newest["has_more"]) == (1, 0, True)
    both = [*ids(http_api, "?limit=1"), *ids(http_api, "?limit=1&offset=1")]
    assert both == ids(http_api)[:2]
    http_api.kubectl("-n", http_api.namespace, "delete", "agentrun", "by-kubectl")
    assert "by-kubectl" not in ids(http_api)
    assert http_api.call("GET", "/jobs/by-kubectl").status == 404


def test_a_job_at_work_is_canceled_for_real(http_api: HttpApi, python_image: str) -> None:
    name = start(http_api, f"BASH{{{ENDLESS}}}", python_image)
    until(http_api, name, "running")
    assert name in ids(http_api, "?status=running")
    answer = http_api.call("DELETE", f"/jobs/{name}")
    assert (answer.status, answer.body) == (200, {"cancelled": True, "job_id": name})
    run = json.loads(http_api.kubectl("-n", http_api.namespace, "get", "agentrun", name, "-o", "json"))
    assert condition(run)["reason"] == "Canceled", "the answer comes once it has ended"
    assert job(http_api, name)["status"] == "cancelled"
    assert name in ids(http_api, "?status=cancelled")
    again = http_api.call("DELETE", f"/jobs/{name}")
    assert (again.status, again.body["details"]) == (409, {"status": "cancelled"})


@pytest.mark.parametrize(("signal", "name"), [("KILL", "SIGKILL"), ("SEGV", "SIGSEGV")])
def test_a_crash_says_what_ended_the_agent(http_api: HttpApi, python_image: str, signal: str, name: str) -> None:
    kubectl_run(http_api, f"dies-{signal.lower()}", python_image, f"BASH{{kill -{signal} $PPID; sleep 5}}")
    found = until(http_api, f"dies-{signal.lower()}", "crashed")
    assert (found["crash_info"]["signal"], found["crash_info"]["reason"]) == (name, "AgentFailed")
    assert found["id"] in ids(http_api, "?status=crashed")
    assert found["id"] not in ids(http_api, "?status=failed")


def test_what_is_refused_has_failed_and_says_why(http_api: HttpApi, python_image: str) -> None:
    asked = {"prompt": "x", "podman": {"image": python_image, "volumes": ["/etc:/host"]}}
    name = http_api.call("POST", "/run/async", asked).body["job_id"]
    found = until(http_api, name, "failed")
    assert "the volume /etc" in found["error"], found
    assert name in ids(http_api, "?status=failed")


def test_another_namespace_is_another_s(http_api: HttpApi) -> None:
    headers = {"X-Stromboli-Namespace": "kube-system"}
    for method, path in (("GET", "/jobs"), ("GET", "/jobs/x"), ("DELETE", "/jobs/x")):
        answer = http_api.call(method, path, headers=headers)
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert http_api.call("GET", "/jobs", token="nobody's").status == 401
