"""The last attempt of a run, found by the run: its folder, what is seen of it, what must not be shown of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.models.run import Run
from stromboli.observe import attempts
from stromboli.observe.attempts import Trace
from stromboli.plan.redaction import Secrets
from stromboli.podman.transport import Podman


class Traces:
    """The traces of runs on this node. Every run that is asked about has an attempt in its status."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site

    async def look(self, run: Run, now: datetime) -> Trace:
        """What is seen of the attempt `now`. Raises PodmanUnavailable."""
        attempt, marks = run.status.attempts[-1], self._site.marks(run.session_uid)
        return await attempts.look(self._podman, self.out(run), attempt, marks, self.given(run), now)

    async def look_without_podman(self, run: Run, now: datetime) -> Trace:
        """What the attempt's folder says `now`; its container counts as absent."""
        return await attempts.look_without_podman(self.out(run), run.status.attempts[-1], self.given(run), now)

    def out(self, run: Run) -> Path:
        """The folder with the attempt's marks and records."""
        return self._site.folder(run.session_uid).attempt(run.uid, run.status.attempts[-1].number) / "out"

    def given(self, run: Run) -> Secrets:
        """What the attempt was given that must not be shown."""
        name = naming.attempt(run.uid, run.status.attempts[-1].number)
        return self._site.folder(run.session_uid).read_given(name)
