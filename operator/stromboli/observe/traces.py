"""The last attempt of a run: its folder, its observed state, and the secrets that must not be shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from stromboli import naming
from stromboli.models.run import Run
from stromboli.observe import attempts, sessions
from stromboli.observe.attempts import Trace
from stromboli.observe.reads import ClusterReads, Find, SiteReads
from stromboli.observe.steady import Steady
from stromboli.plan.follow import Phase, Seen
from stromboli.plan.redaction import Secrets


class Traces:
    """The traces of runs on this node. Only for runs that have an attempt in their status."""

    def __init__(self, cluster: ClusterReads, find: Find, site: SiteReads, steady: Steady) -> None:
        self._cluster = cluster
        self._find = find
        self._site = site
        self._steady = steady

    async def of(self, run: Run) -> Trace:
        """What is seen of the attempt. Raises PodmanUnavailable, ClusterUnavailable: then nothing is concluded."""
        deleted = await sessions.was_deleted(self._cluster, run)
        # Between two attempts, nothing is asked of Podman, which may be away for as long.
        resting = run.status.is_between_attempts
        container = None if resting else await self._find(naming.agent(run.session_uid))
        trace = await attempts.trace(self.out(run), run.status.attempts[-1], self._given(run), container)
        return replace(trace, seen=self._timed(run, replace(trace.seen, session_deleted=deleted), trace))

    def _timed(self, run: Run, seen: Seen, trace: Trace) -> Seen:
        """With the times that a change of the node's clock must not change."""
        attempt, now = run.status.attempts[-1], datetime.now(UTC)
        if run.status.is_between_attempts:
            ended = attempt.finished or now
            return replace(seen, rested=self._since(run, "rest", attempt.number, (now - ended).total_seconds()))
        if seen.phase is not Phase.running:
            return seen
        if run.is_canceled:
            seen = replace(seen, canceling=self._since(run, "cancel", attempt.number, 0.0))
        if seen.sent:
            written = trace.records.written, trace.records.written_at
            last = trace.records.written_at or now  # no file yet: the CLI is just being started
            silent = self._since(run, "output", (attempt.number, *written), (now - last).total_seconds())
            seen = replace(seen, silent=silent)
        return seen

    def forget(self, uid: str) -> None:
        """The run has ended, or is no longer this operator's."""
        self._steady.forget(uid)

    def _since(self, run: Run, what: str, mark: object, seconds: float) -> float:
        return self._steady.since(run.uid, what, mark, seconds)

    async def without_podman(self, run: Run) -> Trace:
        """What the attempt's folder says; its container counts as absent."""
        return await attempts.trace(self.out(run), run.status.attempts[-1], self._given(run))

    def out(self, run: Run) -> Path:
        """The folder with the attempt's seals and records."""
        return self._site.folder(run.session_uid).attempt(run.uid, run.status.attempts[-1].number) / "out"

    def _given(self, run: Run) -> Secrets:
        """The secrets that the attempt was given, which must not be shown."""
        name = naming.attempt(run.uid, run.status.attempts[-1].number)
        return self._site.folder(run.session_uid).read_given(name)
