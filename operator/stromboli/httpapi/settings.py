"""The HTTP API's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import addresses
from stromboli.errors import InvalidSettings

ADDRESS, LOCAL = "STROMBOLI_SERVER_ADDRESS", "STROMBOLI_LOCAL_KUBECONFIG"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where it listens, and what it allows. `local` is the local user's kubeconfig, if calls without a token are
    theirs; `rate` and `burst` are calls of each caller, a second and at once.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    body_limit: int = 4 * 1024 * 1024  # bytes
    rate_limited: bool = False
    rate: float = 10.0
    burst: int = 20
    local: Path | None = None


def load(environ: Mapping[str, str]) -> HttpSettings | None:
    """None where the HTTP API is off. Raises InvalidSettings."""
    if not (given := environ.get(ADDRESS)):
        return None
    try:
        host, port = addresses.parse(given)
    except ValueError as e:
        raise InvalidSettings(str(e), ADDRESS) from e
    local = environ.get(LOCAL)
    return HttpSettings(host, port, local=Path(local) if local else None)
