"""The gateway's settings, which are in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stromboli import addresses
from stromboli.errors import InvalidSettings
from stromboli.httpapi import settings as http
from stromboli.httpapi.settings import HttpSettings

ADDRESS, NAMESPACE = "STROMBOLI_GATEWAY_ADDRESS", "STROMBOLI_NAMESPACE"
_DEFAULT_ADDRESS = "127.0.0.1:8443"
_DEFAULT_NAMESPACE = "stromboli-system"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where it listens, the namespace of the operators, and the HTTP API, if it is on."""

    host: str
    port: int
    namespace: str
    http: HttpSettings | None = None


def load(environ: Mapping[str, str]) -> Settings:
    """Raises InvalidSettings."""
    given = environ.get(ADDRESS) or _DEFAULT_ADDRESS
    try:
        host, port = addresses.parse(given)
    except ValueError as e:
        raise InvalidSettings(str(e), ADDRESS) from e
    return Settings(host, port, environ.get(NAMESPACE) or _DEFAULT_NAMESPACE, http.load(environ))
