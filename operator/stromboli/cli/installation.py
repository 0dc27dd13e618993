"""The installation that a command works on, as selected by the environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stromboli.errors import LocalFailure

if TYPE_CHECKING:
    from stromboli.api.address import Address
    from stromboli.kube.bearer import Token
    from stromboli.local.stack import Stack
    from stromboli.progress import Progress


def stack(progress: Progress | None = None) -> Stack:
    """The local installation, which may not exist yet; it reports on `progress` (or standard error)."""
    from stromboli.local.home import Home
    from stromboli.local.stack import Stack
    from stromboli.progress import Progress

    return Stack(Home.of(os.environ), dict(os.environ), progress or Progress(sys.stderr))


def existing() -> Stack:
    """The same. Raises LocalFailure if there is no installation."""
    found = stack()
    if not found.exists:
        raise LocalFailure(f"there is no installation in {found.home.root}", "`stromboli up` creates one")
    return found


@dataclass(frozen=True, slots=True)
class Operator:
    """Where the operator of this machine serves its read API, and who asks there about which namespace."""

    address: Address
    token: Token
    namespace: str


def operator(namespace: str | None) -> Operator:
    """The operator, and the user of the kubeconfig; its namespace, unless one is given. Raises LocalFailure."""
    from stromboli.api import address
    from stromboli.kube.bearer import bearer
    from stromboli.local.home import Home

    found = address.read(Home.of(os.environ).root)
    token, default = bearer(kubeconfig())
    return Operator(found, token, namespace or default)


def kubeconfig() -> Path:
    """KUBECONFIG, or that of the installation. Raises LocalFailure."""
    given = os.environ.get("KUBECONFIG")
    return Path(given) if given else existing().kubeconfig
