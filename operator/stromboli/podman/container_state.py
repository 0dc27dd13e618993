"""The state of one container, as Podman reports it on inspection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_ALIVE = ("running", "paused", "stopping", "removing")


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One inspected container. `exit_code` and `finished_at` are None unless it has ended since its last start.
    A paused container does not count as `running`.

    `oom_killed` can be wrongly False: with cgroups v1 on a recent kernel, conmon is not notified (4.3.1 on 6.18,
    although the container's own cgroup counts an `oom_kill`).
    """

    id: str
    name: str
    labels: Mapping[str, str]
    image_id: str
    status: str  # created | initialized | running | paused | stopping | stopped | exited | removing
    running: bool
    exit_code: int | None
    oom_killed: bool
    started_at: datetime | None
    finished_at: datetime | None
    pid: int
    error: str

    @property
    def alive(self) -> bool:
        """Whether it may still have processes, running or paused."""
        return self.status in _ALIVE
