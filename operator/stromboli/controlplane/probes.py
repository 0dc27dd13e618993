"""Asking a part whether it is ready. One question each, answered yes or no within two seconds.

Whether a part's process is there at all is not asked here, nor how long to wait.
"""

from __future__ import annotations

import ssl
from typing import Self

import httpx2 as httpx

from stromboli.controlplane import ports as port_names
from stromboli.controlplane.certificates import Certificates
from stromboli.controlplane.parts import APISERVER, CONTROLLER_MANAGER, ETCD
from stromboli.controlplane.ports import HOST

_TIMEOUT = 2.0  # seconds
_PATHS = {
    ETCD: (port_names.ETCD, "/health"),
    APISERVER: (port_names.APISERVER, "/readyz"),
    CONTROLLER_MANAGER: (port_names.CONTROLLER_MANAGER, "/healthz"),
}


class Prober:
    """Asks over TLS, with the administrator's token and etcd's client certificate. Close it, or use it by `with`.

    Raises OSError if the certificates are not there.
    """

    def __init__(self, certificates: Certificates, ports: dict[str, int]) -> None:
        context = ssl.create_default_context(cafile=str(certificates.certificate("ca")))
        context.load_cert_chain(certificates.certificate("etcd"), certificates.key("etcd"))
        headers = {"Authorization": f"Bearer {certificates.token}"}
        self._ports = ports
        # No proxy of the person's: it could not reach this loopback.
        self._client = httpx.Client(verify=context, headers=headers, trust_env=False, timeout=_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def ready(self, name: str) -> bool:
        """Whether the part `name` answers that it is ready, right now."""
        port, path = _PATHS[name]
        try:
            return self._client.get(f"https://{HOST}:{self._ports[port]}{path}").is_success
        except httpx.TransportError:
            return False
