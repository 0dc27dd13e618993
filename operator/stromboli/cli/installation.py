"""The installation that a command works on, as selected by the environment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from stromboli.errors import LocalFailure

if TYPE_CHECKING:
    from pathlib import Path

    from stromboli.local.stack import Stack
    from stromboli.progress import Progress


def stack(progress: Progress | None = None, config: Path | None = None) -> Stack:
    """The local installation, which may not exist yet; it reports on `progress` (or standard error)."""
    from stromboli.local.home import Home
    from stromboli.local.stack import Stack
    from stromboli.progress import Progress

    return Stack(Home.of(os.environ), dict(os.environ), progress or Progress(sys.stderr), config)


def existing() -> Stack:
    """The same. Raises LocalFailure if there is no installation."""
    found = stack()
    if not found.exists:
        raise LocalFailure(f"there is no installation in {found.home.root}", "`stromboli up` creates one")
    return found
