"""The gateway's settings: its own, which are in its environment, and those of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import addresses, httpsettings
from stromboli.errors import InvalidSettings
from stromboli.httpsettings import HttpSettings

ADDRESS, NAMESPACE = "STROMBOLI_GATEWAY_ADDRESS", "STROMBOLI_NAMESPACE"
_DEFAULT_ADDRESS = "127.0.0.1:8443"
_DEFAULT_NAMESPACE = "stromboli-system"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where it listens, the namespace of the operators, and the HTTP API, which is off without an address."""

    host: str
    port: int
    namespace: str
    http: HttpSettings


def load(environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Raises InvalidSettings."""
    given = environ.get(ADDRESS) or _DEFAULT_ADDRESS
    try:
        host, port = addresses.parse(given)
    except ValueError as e:
        raise InvalidSettings(str(e), ADDRESS) from e
    http = httpsettings.load(environ, config)
    return Settings(host, port, environ.get(NAMESPACE) or _DEFAULT_NAMESPACE, http)
