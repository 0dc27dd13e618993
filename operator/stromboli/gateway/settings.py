"""The gateway's settings, which are in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.errors import InvalidSettings

ADDRESS, NAMESPACE = "STROMBOLI_GATEWAY_ADDRESS", "STROMBOLI_NAMESPACE"
_DEFAULT_ADDRESS = "127.0.0.1:8443"
_DEFAULT_NAMESPACE = "stromboli-system"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where it listens, and the namespace of the operators."""

    host: str
    port: int
    namespace: str


def load(environ: Mapping[str, str]) -> Settings:
    """Raises InvalidSettings."""
    given = environ.get(ADDRESS) or _DEFAULT_ADDRESS
    host, _, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidSettings(f"{given!r} is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443", ADDRESS)
    return Settings(host, int(port), environ.get(NAMESPACE) or _DEFAULT_NAMESPACE)
