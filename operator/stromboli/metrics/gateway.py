"""The gateway's metrics: of the HTTP API, and of the read API's requests that it passes on."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from stromboli.metrics.exposition import LONG, new_registry, text

OTHER = "other"  # a path that is not served, or a method that no route has
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class GatewayMetrics:
    """All metrics of one gateway."""

    def __init__(self, release: str) -> None:
        self.registry = registry = new_registry("gateway", release)
        self.http = Counter(
            "stromboli_http_requests",
            "Calls of the HTTP API that have ended, by their route; the status is 0 if the caller left before one.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.http_duration = Histogram(
            "stromboli_http_request_duration_seconds",
            "How long calls took to their end; some wait for a run.",
            ("route", "method"),
            buckets=(0.01, 0.05, *LONG),
            registry=registry,
        )
        self.waiting = Gauge(
            "stromboli_http_requests_waiting",
            "Calls that have not begun to be answered, such as those that wait for a run's end.",
            registry=registry,
        )
        self.streams = Gauge("stromboli_http_streams_open", "Streams of events that are open.", registry=registry)
        self.read_api = Counter(
            "stromboli_read_api_requests",
            "Requests to the read API that were for an operator, by what became of them.",
            ("resource", "status"),
            registry=registry,
        )
        self.read_api_open = Gauge(
            "stromboli_read_api_requests_open", "Requests that are being passed on to operators.", registry=registry
        )

    def text(self) -> bytes:
        """All of them as they are now."""
        return text(self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A call has ended. `route` is a template, empty for a path that is not served."""
        known = method if method in _METHODS else OTHER
        self.http.labels(route or OTHER, known, str(status)).inc()
        self.http_duration.labels(route or OTHER, known).observe(seconds)

    def passed_on(self, resource: str, status: int) -> None:
        """A request for an operator has ended; `resource` is from the table of what may be asked."""
        self.read_api.labels(resource, str(status)).inc()
