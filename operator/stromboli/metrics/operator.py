"""The operator's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stromboli.metrics.exposition import CALLS, LONG, new_registry, text
from stromboli.reasons import Reason

UNKNOWN = "Unknown"  # for a reason that somebody else has written into a status


class Stage(StrEnum):
    """The parts of a run's time."""

    queue = "queue"
    pull = "pull"
    start = "start"
    hooks = "hooks"
    agent = "agent"
    run = "run"


class Tokens(StrEnum):
    """The kinds of tokens."""

    input = "input"
    output = "output"
    cache_read = "cache_read"
    cache_creation = "cache_creation"


class PullResult(StrEnum):
    """How a pull has ended. `shown` is one that was not needed: the registry showed access to an image that is here."""

    pulled = "pulled"
    shown = "shown"
    failed = "failed"
    canceled = "canceled"


class NotificationResult(StrEnum):
    """What has become of an attempt to notify."""

    delivered = "delivered"
    retried = "retried"
    given_up = "given_up"


class Outcome(StrEnum):
    """What has become of a call to Podman."""

    ok = "ok"
    not_found = "not_found"
    refused = "refused"
    unavailable = "unavailable"


class OperatorMetrics:
    """All metrics of one operator."""

    def __init__(self, release: str) -> None:
        self.registry = registry = new_registry("operator", release)
        self._runs(registry)
        self._calls(registry)

    def _runs(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "stromboli_runs",
            "Runs that have ended, each counted once, by the reason of Succeeded.",
            ("result", "reason"),
            registry=registry,
        )
        for reason in Reason:
            if reason.status != "Unknown":
                self.runs.labels(result_of(reason), str(reason))
        self.attempts = Counter(
            "stromboli_attempts",
            "Attempts of runs that have ended, also those that were followed by another.",
            ("reason",),
            registry=registry,
        )
        self.stages = Histogram(
            "stromboli_run_stage_duration_seconds",
            "How long runs were in each stage. queue and pull: once for a run, before its first attempt; pull, only if"
            " it waited for one. start, hooks and agent: of each attempt. run: from its first sight to its end.",
            ("stage",),
            buckets=LONG,
            registry=registry,
        )
        for stage in Stage:
            self.stages.labels(stage)
        self.tokens = Counter("stromboli_tokens", "Tokens that agents have used.", ("kind",), registry=registry)
        for kind in Tokens:
            self.tokens.labels(kind)
        self.cost = Counter(
            "stromboli_cost_dollars", "What agents have cost by the CLI's prices, in US dollars.", registry=registry
        )
        self.pulls = Counter("stromboli_pulls", "Pulls of images that have ended.", ("result",), registry=registry)
        for pull in PullResult:
            self.pulls.labels(pull)
        self.pull_duration = Histogram(
            "stromboli_pull_duration_seconds",
            "How long pulls took that have brought an image, with their wait for others.",
            buckets=LONG,
            registry=registry,
        )
        self.sessions = Gauge("stromboli_sessions", "Named sessions that there are in the cluster.", registry=registry)
        self.notifications = Counter(
            "stromboli_notifications",
            "Requests to receivers of runs' ends: delivered, failed and to be retried, or given up.",
            ("result",),
            registry=registry,
        )
        for result in NotificationResult:
            self.notifications.labels(result)

    def _calls(self, registry: CollectorRegistry) -> None:
        self.podman = Counter(
            "stromboli_podman_requests",
            "Calls to Podman, by what became of them.",
            ("operation", "result"),
            registry=registry,
        )
        self.podman_duration = Histogram(
            "stromboli_podman_request_duration_seconds",
            "How long Podman took until it began to answer; without calls that last as long as what they are about.",
            ("operation",),
            buckets=CALLS,
            registry=registry,
        )
        self.api_server = Counter(
            "stromboli_api_server_requests",
            "Calls to the API server by status, which is 0 if none came; without watches.",
            ("method", "resource", "status"),
            registry=registry,
        )
        self.api_server_duration = Histogram(
            "stromboli_api_server_request_duration_seconds",
            "How long the API server took until it began to answer.",
            ("method",),
            buckets=CALLS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All of them as they are now."""
        return text(self.registry)

    def pull_ended(self, result: str, seconds: float) -> None:
        """A pull has ended after that time."""
        self.pulls.labels(PullResult(result)).inc()
        if result == PullResult.pulled:
            self.pull_duration.observe(seconds)

    def notified(self, result: str) -> None:
        """A receiver was asked to take a notification."""
        self.notifications.labels(NotificationResult(result)).inc()

    def podman_called(self, operation: str, status: int, seconds: float | None) -> None:
        """A call to Podman began to be answered after that time, None if it may last; status 0 if it was not."""
        self.podman.labels(operation, _outcome(status)).inc()
        if seconds is not None and status:
            self.podman_duration.labels(operation).observe(seconds)

    def api_server_called(self, method: str, resource: str, status: int, seconds: float) -> None:
        """A call to the API server began to be answered after that time; status 0 if it was not."""
        self.api_server.labels(method, resource, str(status)).inc()
        if status:
            self.api_server_duration.labels(method).observe(seconds)

    def checks(self, problems: Callable[[], Mapping[str, str | None]]) -> None:
        """What the health checks say, when Prometheus asks."""
        self.registry.register(_Checks(problems))


class _Checks(Collector):
    """Without a metric for the process's readiness as such: that is the least of these."""

    def __init__(self, problems: Callable[[], Mapping[str, str | None]]) -> None:
        self._problems = problems

    def describe(self) -> Iterable[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        found = self._family()
        for name, problem in self._problems().items():
            found.add_metric([name], 0.0 if problem is not None else 1.0)
        yield found

    def _family(self) -> GaugeMetricFamily:
        said = "Each check of /readyz: 1 if all is well, 0 if not."
        return GaugeMetricFamily("stromboli_health_check", said, labels=("check",))


def result_of(reason: Reason) -> str:
    """The label for a reason that a run has ended with."""
    return "succeeded" if reason.status == "True" else "failed"


def _outcome(status: int) -> Outcome:
    if status == 0:
        return Outcome.unavailable
    if status == 404:
        return Outcome.not_found
    return Outcome.refused if status >= 400 else Outcome.ok
