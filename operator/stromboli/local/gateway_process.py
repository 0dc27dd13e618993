"""The gateway as a background process of the installation: `stromboli gateway`, behind the API server's APIService.

The gateway itself is in `gateway`; a cluster's Deployment runs the same command. How the API server finds it is in
`aggregation`.
"""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from stromboli import addresses, bounds, visible
from stromboli.configfile import SERVER
from stromboli.controlplane import ports
from stromboli.local import code, kept
from stromboli.local.answers import NAMESPACE
from stromboli.local.detached import Detached
from stromboli.local.home import Home
from stromboli.local.http_api import ADDRESS, Address, HttpApi

_NAME = "gateway"
_READY_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_WHERE = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_LONGEST = 300  # characters of an answer that are shown


@dataclass(frozen=True, slots=True)
class Gateway:
    """Starts, stops and checks the gateway of `home`."""

    home: Home

    @property
    def process(self) -> Detached:
        return Detached(_NAME, self.home)

    def pid(self) -> int | None:
        return self.process.pid()

    @property
    def http_api(self) -> HttpApi:
        return HttpApi(self.home, kept.section(self.home.gateway_settings, SERVER))

    def port(self) -> int:
        """The port that it listens on, the same each time, unless another process has taken it meanwhile."""
        in_use = [_NAME] if self.pid() else []
        return ports.settle(self.home.gateway_port, in_use, [_NAME])[_NAME]

    def ready(self) -> bool:
        return self.problem() is None

    def problem(self) -> str | None:
        """Why it is not ready; None if it is."""
        if self.pid() is None:
            return "it is not running"
        port = ports.read(self.home.gateway_port, [_NAME]).get(_NAME, 0)
        # Whoever else listens there does no harm: the API server knows the gateway by its certificate.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with httpx.Client(verify=context, trust_env=False, timeout=_ANSWER_SECONDS) as client:
                answer = client.get(f"https://{ports.HOST}:{port}/readyz")
        except httpx.TransportError as e:
            return f"it does not answer at {ports.HOST}:{port}: {e or type(e).__name__}"
        if not answer.is_success:
            return f"it answers {answer.status_code}: {_message(answer.text)}"
        return self.http_api.problem()

    def current(self) -> bool:
        """Whether it was started from the current code and settings, for the current addresses; if not, it is started
        anew. Raises LocalFailure if the address that the user has set for the HTTP API is taken.
        """
        return self.process.stamp == self._stamp(self._http_address())

    def start(self, kubeconfig: Path) -> None:
        """Start it; `await_ready` waits for it. Raises LocalFailure."""
        http = self._http_address()
        self.http_api.record(http)
        command = [sys.executable, "-P", "-m", "stromboli", "gateway", "--config", str(self.home.gateway_settings)]
        self.process.start(command, self.env(kubeconfig, http), self._stamp(http))

    def await_ready(self) -> None:
        """Raises LocalFailure with the end of its log if it does not become ready."""
        self.process.await_ready(self.ready, _READY_SECONDS)

    def stop(self) -> bool:
        """Stop it; False if it was not running."""
        return self.process.stop()

    def env(self, kubeconfig: Path, http: Address) -> dict[str, str]:
        """Nothing of the caller's but where this program and its libraries are found: it talks to this machine's API
        server and operator alone.
        """
        found = {name: os.environ[name] for name in _WHERE if name in os.environ}
        return {
            **found,
            "PATH": os.defpath,
            "HOME": str(self.home.root),
            "KUBECONFIG": str(kubeconfig),
            "PYTHONUNBUFFERED": "1",
            "STROMBOLI_NAMESPACE": NAMESPACE,
            "STROMBOLI_GATEWAY_ADDRESS": f"{ports.HOST}:{self.port()}",
            ADDRESS: addresses.to_text(*http),
            "STROMBOLI_LOCAL_KUBECONFIG": str(kubeconfig),
        }

    def _http_address(self) -> Address:
        return self.http_api.address(running=self.pid() is not None)

    def _stamp(self, http: Address) -> str:
        file = self.home.gateway_settings
        settings = file.read_bytes() if file.exists() else b""
        return code.stamp(f"{self.port()} {addresses.to_text(*http)} ".encode() + settings)


def _message(text: str) -> str:
    """What an answer says, which is a `Status` of the API's if it is the gateway's."""
    try:
        said = str(bounds.json_document(text, bounds.ANSWER)["message"])
    except (ValueError, KeyError, TypeError):
        said = text.strip()
    return visible.text(said)[:_LONGEST]
