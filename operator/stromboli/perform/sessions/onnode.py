"""Access to what sessions have on this node."""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.attempt.site import Site
from stromboli.node.cleanup import Cleaner
from stromboli.node.resting import Resting
from stromboli.node.serial import SessionLocks
from stromboli.podman.transport import Podman


@dataclass(frozen=True, slots=True)
class OnNode:
    """Podman, the operator's folders, the sessions' containers between two runs, clean-up, and the sessions' locks."""

    podman: Podman
    site: Site
    resting: Resting
    cleaner: Cleaner
    locks: SessionLocks
