"""What the changes of runs' statuses say, counted. The store reports each change that it learns of, once.

An end is counted when a run changes from unfinished to finished before this process's eyes; so runs that had ended
before it began are not counted, and neither is what is only read again. Times are those of the statuses, except for
waits in the queue and for pulls, which have no record there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stromboli.metrics.operator import UNKNOWN, OperatorMetrics, Stage, Tokens, result_of
from stromboli.models.objects import entries, fields, moment
from stromboli.models.run import AttemptEntry, Run
from stromboli.reasons import Reason

_WAITS: Mapping[str, Stage] = {Reason.Queued: Stage.queue, Reason.Pulling: Stage.pull}
_TOKENS = {
    "inputTokens": Tokens.input,
    "outputTokens": Tokens.output,
    "cacheReadTokens": Tokens.cache_read,
    "cacheCreationTokens": Tokens.cache_creation,
}
_MOST = 1e12  # of anything that an agent says it has used


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Known:
    """A run that has not ended: its reason, and since when; whether an attempt is going on; seconds that it waited."""

    reason: str
    since: datetime
    at_work: bool
    waited: dict[Stage, float] = field(default_factory=dict)


class RunMetrics(Collector):
    """Counts for one node, and knows the runs that have not ended; of other nodes' runs, nothing."""

    def __init__(self, metrics: OperatorMetrics, node: str, clock: Callable[[], datetime] = _now) -> None:
        self._metrics = metrics
        self._node = node
        self._clock = clock
        self._known: dict[str, _Known] = {}
        metrics.registry.register(self)

    def changed(self, before: Run | None, run: Run) -> None:
        """A newer version of a run is known; `before` is what was known of it while it had not ended, if anything."""
        if run.status.node not in ("", self._node):
            self.gone(run.uid)
            return
        known = self._known.get(run.uid)
        if known is not None:
            self._waits(known, run)
        if before is not None:
            self._attempts(before, run, known)
        if run.status.is_finished:
            self.gone(run.uid)
            if before is not None:
                self._ended(run)
        elif known is None:
            self._known[run.uid] = _Known(run.status.reason, self._since(run), _is_at_work(run))
        else:
            known.at_work = _is_at_work(run)

    def gone(self, uid: str) -> None:
        """The run has ended, was deleted, or belongs to another node."""
        self._known.pop(uid, None)

    def _since(self, run: Run) -> datetime:
        """Since when a run is as it is that this process sees for the first time."""
        queued = run.status.reason == Reason.Queued and not run.status.attempts
        return (moment(run.status.first_seen) if queued else None) or self._clock()

    def _waits(self, known: _Known, run: Run) -> None:
        if run.status.reason == known.reason:
            return
        now = self._clock()
        stage = _WAITS.get(known.reason)
        if stage is not None:
            known.waited[stage] = known.waited.get(stage, 0.0) + _seconds(known.since, now)
        known.reason, known.since = run.status.reason, now

    def _attempts(self, before: Run, run: Run, known: _Known | None) -> None:
        had = before.status.attempts
        if not had and run.status.attempts:
            waited = known.waited if known is not None else {}
            self._observe(Stage.queue, waited.get(Stage.queue, 0.0))
            if Stage.pull in waited:
                self._observe(Stage.pull, waited[Stage.pull])
        closed = {attempt.number for attempt in had if attempt.reason}
        for attempt, wire in zip(run.status.attempts, entries(run.status.wire.get("attempts")), strict=True):
            if attempt.reason and attempt.number not in closed:
                self._attempt(attempt.reason, fields(wire.get("usage")))
                if attempt is run.status.attempts[-1]:
                    self._steps(attempt, run)

    def _attempt(self, reason: str, used: Mapping[str, Any]) -> None:
        self._metrics.attempts.labels(_reason(reason)).inc()
        for name, kind in _TOKENS.items():
            self._metrics.tokens.labels(kind).inc(_amount(used.get(name)))
        self._metrics.cost.inc(_amount(used.get("costUSD")))

    def _steps(self, attempt: AttemptEntry, run: Run) -> None:
        """How long the parts of the last attempt took."""
        steps = entries(run.status.wire.get("steps"))
        times = [(step.get("hook"), moment(step.get("startedAt")), moment(step.get("finishedAt"))) for step in steps]
        begun = [begin for _, begin, _ in times if begin is not None]
        if attempt.started is None or not begun or min(begun) < attempt.started:  # those of an earlier attempt
            return
        self._observe(Stage.start, _seconds(attempt.started, min(begun)))
        for stage, agent in ((Stage.hooks, False), (Stage.agent, True)):
            parts = [(begin, end or attempt.finished) for hook, begin, end in times if (hook == Stage.agent) is agent]
            begins, ends = [each for each, _ in parts if each is not None], [end for _, end in parts if end is not None]
            if begins and ends:
                self._observe(stage, _seconds(min(begins), max(ends)))

    def _ended(self, run: Run) -> None:
        reason = _ENDS.get(run.status.reason)
        self._metrics.runs.labels(result_of(reason) if reason else UNKNOWN, reason or UNKNOWN).inc()
        begun, completed = moment(run.status.first_seen), run.status.completed
        if begun is not None and completed is not None:
            self._observe(Stage.run, _seconds(begun, completed))

    def _observe(self, stage: Stage, seconds: float) -> None:
        self._metrics.stages.labels(stage).observe(seconds)

    def describe(self) -> Iterable[Metric]:
        return self._families([], 0.0)

    def collect(self) -> Iterator[Metric]:
        known = list(self._known.values())
        queued = [each.since for each in known if each.reason == Reason.Queued]
        return self._families(known, _seconds(min(queued), self._clock()) if queued else 0.0)

    def _families(self, known: list[_Known], age: float) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "stromboli_runs_waiting", "Runs that wait for their first attempt, or for another.", labels=("reason",)
        )
        counts = Counter(_reason(each.reason) for each in known if not each.at_work)
        for reason in (*_WAITING, UNKNOWN):
            waiting.add_metric([reason], counts[reason])
        yield waiting
        running = sum(each.at_work for each in known)
        yield GaugeMetricFamily("stromboli_attempts_running", "Attempts that have begun, and not ended.", value=running)
        said = "For how long the run has been Queued that was queued first, as far as this process knows."
        yield GaugeMetricFamily("stromboli_queue_age_seconds", said, value=age)


_WAITING = tuple(str(reason) for reason in Reason if reason.status == "Unknown")
_ENDS = {str(reason): reason for reason in Reason if reason.status != "Unknown"}


def _is_at_work(run: Run) -> bool:
    return bool(run.status.attempts) and not run.status.is_between_attempts


def _reason(reason: str) -> str:
    return reason if reason in _WAITING or reason in _ENDS else UNKNOWN


def _seconds(begin: datetime, end: datetime) -> float:
    return max((end - begin).total_seconds(), 0.0)


def _amount(value: object) -> float:
    """What an agent has said is no reason to fail, whatever it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(min(max(value, 0), _MOST)) if is_number else 0.0  # type: ignore[call-overload]
