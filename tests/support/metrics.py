"""Registries in which every metric has at least one sample, for what is compared with their names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stromboli.metrics.gateway import GatewayMetrics
from stromboli.metrics.operator import OperatorMetrics
from stromboli.metrics.runs import RunMetrics


def operator_metrics() -> CollectorRegistry:
    metrics = OperatorMetrics("test")
    RunMetrics(metrics, "node")
    metrics.checks(lambda: {"podman": None})
    metrics.attempts.labels("Completed")
    for status in (200, 404, 500, 0):
        metrics.podman_called("info", status, 0.1)
    metrics.api_server_called("GET", "agentruns", 200, 0.1)
    return metrics.registry


def gateway_metrics() -> CollectorRegistry:
    metrics = GatewayMetrics("test")
    metrics.answered("/run", "POST", 200, 0.1)
    metrics.passed_on("agentruns/log", 200)
    return metrics.registry
