"""The operator's definitions: names and labels as Prometheus' conventions want them."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry

from stromboli.metrics.gateway import GatewayMetrics
from stromboli.metrics.operator import OperatorMetrics
from tests.support.metrics import gateway_metrics, operator_metrics

UNITS = ("_seconds", "_dollars_total", "_total")
BOUNDED = {
    *("reason", "result", "stage", "kind", "operation", "method", "resource", "status", "check", "route"),
    *("component", "version"),
}


@pytest.mark.parametrize("made", [operator_metrics, gateway_metrics])
def test_names_and_labels(made: object) -> None:
    registry = made()  # type: ignore[operator]
    assert isinstance(registry, CollectorRegistry)
    ours = [metric for metric in registry.collect() if metric.name.startswith("stromboli_")]
    assert len(ours) > 5
    for metric in ours:
        assert re.fullmatch(r"[a-z_]+", metric.name)
        assert metric.documentation.endswith(".")
        if metric.type == "histogram":
            assert metric.name.endswith("_seconds")
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} <= BOUNDED, sample
            if metric.type == "counter":
                assert sample.name.endswith("_total")


def test_each_process_has_its_own() -> None:
    one, other = OperatorMetrics("1"), OperatorMetrics("1")
    one.notified("delivered")
    sample = ("stromboli_notifications_total", {"result": "delivered"})
    assert one.registry.get_sample_value(*sample) == 1
    assert other.registry.get_sample_value(*sample) == 0
    GatewayMetrics("1")


def test_the_text_has_the_process_and_no_times_of_creation() -> None:
    text = OperatorMetrics("0.1").text().decode()
    assert 'stromboli_build_info{component="operator",version="0.1"} 1.0' in text
    assert "process_resident_memory_bytes " in text
    assert "_created" not in text


@pytest.mark.parametrize(
    ("status", "result"),
    [(200, "ok"), (304, "ok"), (404, "not_found"), (409, "refused"), (500, "refused"), (0, "unavailable")],
)
def test_a_call_to_podman(status: int, result: str) -> None:
    metrics = OperatorMetrics("test")
    metrics.podman_called("containers start", status, 0.5)
    value = metrics.registry.get_sample_value
    assert value("stromboli_podman_requests_total", {"operation": "containers start", "result": result}) == 1
    counted = value("stromboli_podman_request_duration_seconds_count", {"operation": "containers start"})
    assert counted == (1 if status else None)


def test_pulls_that_brought_nothing_say_nothing_about_how_long_they_take() -> None:
    metrics = OperatorMetrics("test")
    for result in ("pulled", "shown", "failed", "canceled"):
        metrics.pull_ended(result, 3.0)
    value = metrics.registry.get_sample_value
    assert [value("stromboli_pulls_total", {"result": r}) for r in ("pulled", "shown", "failed", "canceled")] == [1] * 4
    assert value("stromboli_pull_duration_seconds_count") == 1
