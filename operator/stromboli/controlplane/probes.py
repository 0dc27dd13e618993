"""Readiness probes of the control plane's parts, and of what is behind its API server: one HTTPS request each, with a
timeout of two seconds.

Whether a part's process is running, and how long to wait for it, is decided elsewhere.
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
    """Probes over TLS, with the administrator's token and etcd's client certificate. A context manager.

    Raises OSError if the certificates do not exist.
    """

    def __init__(self, certificates: Certificates, ports: dict[str, int]) -> None:
        context = ssl.create_default_context(cafile=str(certificates.certificate("ca")))
        context.load_cert_chain(certificates.certificate("etcd"), certificates.key("etcd"))
        headers = {"Authorization": f"Bearer {certificates.token}"}
        self._ports = ports
        # No proxy from the environment: it could not reach this machine's loopback.
        self._client = httpx.Client(verify=context, headers=headers, trust_env=False, timeout=_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def ready(self, name: str) -> bool:
        """Whether the part `name` is ready now; False if it does not answer."""
        port, path = _PATHS[name]
        try:
            return self._client.get(f"https://{HOST}:{self._ports[port]}{path}").is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        """The API server's answer to the administrator, status and body; 0 and the reason if it does not answer."""
        try:
            answer = self._client.get(f"https://{HOST}:{self._ports[port_names.APISERVER]}{path}")
        except httpx.TransportError as e:
            return 0, str(e) or type(e).__name__
        return answer.status_code, answer.text
