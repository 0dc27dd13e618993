"""The last attempt of a run: its folder, its observed state, and the secrets that must not be shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stromboli import naming
from stromboli.models.run import Run
from stromboli.observe import attempts, sessions
from stromboli.observe.attempts import Trace
from stromboli.observe.reads import ClusterReads, Find, SiteReads
from stromboli.plan.redaction import Secrets


class Traces:
    """The traces of runs on this node. Only for runs that have an attempt in their status."""

    def __init__(self, cluster: ClusterReads, find: Find, site: SiteReads) -> None:
        self._cluster = cluster
        self._find = find
        self._site = site

    async def of(self, run: Run) -> Trace:
        """What is seen of the attempt. Raises PodmanUnavailable, ClusterUnavailable: then nothing is concluded."""
        deleted = await sessions.was_deleted(self._cluster, run)
        container = await self._find(naming.agent(run.session_uid))
        trace = await attempts.trace(self.out(run), run.status.attempts[-1], self._given(run), container)
        return replace(trace, seen=replace(trace.seen, session_deleted=deleted))

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
