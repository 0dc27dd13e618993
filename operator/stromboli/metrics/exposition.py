"""A process's registry, and its text, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Seconds of a call: to Podman, to the API server, to the HTTP API; of those that wait for a run, up to hours.
CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)


def new_registry(component: str, release: str) -> CollectorRegistry:
    """A registry with what is known of any process."""
    # The times of creation, as series of their own, would double the text.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge("stromboli_build_info", "Always 1.", ("component", "version"), registry=registry)
    build.labels(component, release).set(1)
    return registry


def text(registry: CollectorRegistry) -> bytes:
    """All metrics as they are now."""
    return generate_latest(registry)
