"""What this operator's health is made of: which checks there are, and what each of them looks at."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from stromboli.attempt.folder import require_room
from stromboli.handlers.assembly import Parts
from stromboli.health.checks import Debounced, Health
from stromboli.health.probes import PATIENCE, Probes
from stromboli.health.server import serving
from stromboli.health.watched import Watched
from stromboli.heartbeat import Hearts, Work
from stromboli.kube.client import WATCHED
from stromboli.metrics.operator import OperatorMetrics
from stromboli.podman.transport import Podman
from stromboli.settings import Settings

# Seconds without a sign of life after which a part is stuck, and after which a pass of one object is. Podman removes a
# large volume in minutes, and each of its answers is awaited for a minute.
LONGEST = 1800.0
QUICK = 300.0  # of parts that do nothing that takes long
# Seconds for which sweeps may fail. A Podman that hangs on one container answers a ping, but not the sweep's list.
UNSWEPT = 120.0


class Vitals:
    """The health of one operator, from its first moment on."""

    def __init__(self, settings: Settings, podman: Podman, metrics: OperatorMetrics) -> None:
        self.watched = Watched(WATCHED)
        self.starting: str | None = "it has just begun"
        self._hearts = Hearts()
        self._sweeps = Debounced("the first sweep is not over", patience=UNSWEPT)
        self._parts: Parts | None = None
        self._probes = Probes(
            {
                "podman": partial(podman.ping, PATIENCE),
                "disk": partial(asyncio.to_thread, require_room, settings.home),
            }
        )
        self.health = Health(
            live={"watching": self._watching, "parts": self._hearts.problem, "passes": self._passes},
            needed={
                "start": lambda: self.starting,
                "api-server": self.watched.refused,
                "watch": self.watched.silent,
                "podman": partial(self._probes.problem, "podman"),
                "disk": partial(self._probes.problem, "disk"),
                "cli-image": self._cli_image,
                "sweep": self._sweeps.problem,
            },
        )
        self._address = settings.health_address
        self._metrics = metrics
        metrics.checks(self.health.found)

    def served(self) -> AbstractAsyncContextManager[object]:
        """Answers probes and Prometheus inside the block, if the settings say where."""
        return nullcontext() if self._address is None else serving(self.health, self._metrics.text, *self._address)

    def of(self, parts: Parts) -> None:
        """The operator has these parts from now on, and begins to watch."""
        self._parts, self.starting = parts, None
        self.watched.begin()

    def swept(self, problem: str | None) -> None:
        """A sweep is over; None if it could be completed."""
        self._sweeps.found(problem)

    def beating(self, name: str, work: Work) -> Work:
        """A part that gives signs of life."""
        return self._hearts.of(name, LONGEST, work)

    def probing(self) -> Work:
        """The part that asks what has to be asked for."""
        return self._hearts.of("the health checks", QUICK, partial(self._probes.run, self.health))

    def _watching(self) -> str | None:
        return self.watched.stuck() if self._parts is not None else None

    def _passes(self) -> str | None:
        queues = self._parts.queues if self._parts is not None else {}
        for kind, queue in queues.items():
            found = queue.longest()
            if found is not None and found[1] > LONGEST:
                return f"a pass of {kind} {found[0]} has lasted for {found[1]:.0f} s"
        return None

    def _cli_image(self) -> str | None:
        return self._parts.background.warm_up.missing if self._parts is not None else None
