"""What Prometheus reads of a real operator and a real gateway, after a run that came by HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http_api import NO_TOKEN, HttpApi
from tests.support.metrics import gateway_metrics, operator_metrics
from tests.support.operator import OperatorProcess
from tests.support.waiting import eventually

WITHIN = 30.0
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def steady_operator(new_operator: Callable[[], OperatorProcess]) -> Iterator[OperatorProcess]:
    """In place of the session's: one that says where its metrics are."""
    process = new_operator()
    process.environ = {**process.environ, "STROMBOLI_HEALTH_ADDRESS": "127.0.0.1:0"}
    with process:
        yield process


@pytest.fixture(scope="module")
def address(steady_operator: OperatorProcess) -> str:
    found = re.findall(r"/metrics are served at (http://\S+)", steady_operator.log.read_text())
    assert found, steady_operator.last_words()
    return f"{found[-1]}/metrics"


def read(url: str) -> Values:
    with httpx2.Client(trust_env=False, verify=False) as client:
        answer = client.get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def moved(before: Values, after: Values, name: str, **labels: str) -> float:
    """By how much a sample has changed."""
    key = (f"stromboli_{name}", frozenset(labels.items()))
    return after.get(key, 0.0) - before.get(key, 0.0)


def names(values: Values) -> set[str]:
    return {name for name, _ in values if name.startswith("stromboli_")}


def test_a_run_moves_what_both_count(http_api: HttpApi, address: str, python_image: str) -> None:
    gateway = f"{http_api.base}/metrics"
    before, at_the_gateway = read(address), read(gateway)
    body = {
        "prompt": "ECHO{counted}",
        "podman": {"image": python_image, "lifecycle": {"on_create_command": ["true"]}, "timeout": "2m"},
    }
    answer = http_api.call("POST", "/run", body, token=NO_TOKEN)
    assert (answer.status, answer.body["status"]) == (200, "completed"), answer.body

    after = read(address)
    assert moved(before, after, "runs_total", result="succeeded", reason="Completed") == 1
    assert moved(before, after, "attempts_total", reason="Completed") == 1
    used = answer.body["usage"]
    assert moved(before, after, "tokens_total", kind="input") == used["input_tokens"] > 0
    assert moved(before, after, "tokens_total", kind="output") == used["output_tokens"] > 0
    assert moved(before, after, "cost_dollars_total") == pytest.approx(used["estimated_cost_usd"])
    for stage in ("queue", "start", "hooks", "agent", "run"):
        assert moved(before, after, "run_stage_duration_seconds_count", stage=stage) == 1, stage
    sums = {s: moved(before, after, "run_stage_duration_seconds_sum", stage=s) for s in ("start", "agent", "run")}
    assert 0 < sums["start"] + sums["agent"] <= sums["run"] < 120
    assert moved(before, after, "podman_requests_total", operation="containers start", result="ok") >= 1
    assert moved(before, after, "podman_request_duration_seconds_count", operation="containers start") >= 1
    assert (
        moved(before, after, "api_server_requests_total", method="PUT", resource="agentruns/status", status="200") > 1
    )
    assert moved(before, after, "sessions") == 1

    answered = read(gateway)
    assert moved(at_the_gateway, answered, "http_requests_total", route="/run", method="POST", status="200") == 1
    duration = moved(at_the_gateway, answered, "http_request_duration_seconds_sum", route="/run", method="POST")
    assert duration >= sums["agent"]


def test_what_is_exported_is_what_board_and_alerts_are_checked_against(http_api: HttpApi, address: str) -> None:
    def defined(registry: CollectorRegistry) -> set[str]:
        return {s.name for m in registry.collect() for s in m.samples if s.name.startswith("stromboli_")}

    assert names(read(address)) == defined(operator_metrics())
    assert http_api.call("GET", "/claude/status").status == 200
    exported = names(read(f"{http_api.base}/metrics"))
    assert exported == names(read(f"https://127.0.0.1:{http_api.gateway.port}/metrics")) == defined(gateway_metrics())


def test_what_is_passed_on_to_the_operator(http_api: HttpApi) -> None:
    def passed_on() -> float:
        found = read(f"{http_api.base}/metrics")
        return moved({}, found, "read_api_requests_total", resource="claudestatus", status="200")

    before = passed_on()
    assert http_api.call("GET", "/claude/status").status == 200
    eventually(lambda: passed_on() == before + 1, "it is counted", passed_on, WITHIN)


def test_the_checks(address: str) -> None:
    def failing() -> list[str]:
        found = read(address)
        return [str(labels) for (name, labels), value in found.items() if name.endswith("health_check") and not value]

    eventually(lambda: not failing(), "all is well", failing, WITHIN)
