"""A gateway for tests: the real process behind a real API server, and operators of nodes that answer as a test says."""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from stromboli.keys import contexts
from stromboli.keys.certificates import Authority, Subject, new_leaf
from stromboli.naming import AGENTS_GROUP, API_SERVICE, GATEWAY_SERVICE, OPERATORS, VERSION, operator_host
from tests.support.cluster import Kubectl

SECONDS = 30.0  # for anything that is waited for here


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def registration(namespace: str, port: int) -> list[dict[str, object]]:
    """The APIService, and a Service that leads the API server to loopback."""
    service = {"name": GATEWAY_SERVICE, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": AGENTS_GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {**service, "port": port},
            },
        },
    ]


def apply(kubectl: Kubectl, *objects: dict[str, object]) -> None:
    """Apply the objects."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@dataclass
class GatewayProcess:
    """`stromboli gateway`, which can be killed and started again on its port.

    With `http_port`, it serves the HTTP API there, and calls without a token act as the user of `local`, a kubeconfig.
    `environ` adds to its environment, `config` is its settings file.
    """

    kubeconfig: Path
    namespace: str
    port: int
    log: Path
    http_port: int = 0
    local: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it, and return once it is ready."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.log.parent),
            "KUBECONFIG": str(self.kubeconfig),
            "STROMBOLI_NAMESPACE": self.namespace,
            "STROMBOLI_GATEWAY_ADDRESS": f"127.0.0.1:{self.port}",
            **({"STROMBOLI_SERVER_ADDRESS": f"127.0.0.1:{self.http_port}"} if self.http_port else {}),
            **({"STROMBOLI_LOCAL_KUBECONFIG": str(self.local)} if self.local else {}),
            **self.environ,
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "stromboli", "gateway"]
            command += ["--config", str(self.config)] if self.config else []
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        until(lambda: self._ready(), f"the gateway is ready; its log is {self.log}")

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as the kubelet does; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=SECONDS)

    @property
    def memory(self) -> int:
        """Bytes of its resident memory."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as plain:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                with context.wrap_socket(plain) as connection:
                    connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                    return b" 200 " in connection.recv(64)
        except OSError:
            return False


@contextmanager
def running_gateway(kubeconfig: Path, namespace: str, log: Path) -> Iterator[GatewayProcess]:
    """A gateway inside the block."""
    gateway = GatewayProcess(kubeconfig, namespace, free_port(), log)
    gateway.start()
    try:
        yield gateway
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.kill()


def until(holds: Callable[[], bool], what: str) -> None:
    """Return once that holds, which may take some time."""
    limit = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < limit, f"within {SECONDS:.0f} s, it did not come true that {what}"
        time.sleep(0.05)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def node_operator(authority: Authority, node: str, handler: Handler, *, port: int = 0) -> AsyncIterator[str]:
    """An operator of that node, answering every request by the handler. Yields its address."""
    leaf = await new_leaf(authority, Subject("stromboli-operator", (operator_host(node),), client=False))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    context = contexts.server(leaf, authority.certificate, required=True)
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def publish(kubectl: Kubectl, namespace: str, addresses: dict[str, str]) -> None:
    """Say where operators listen, as they do."""
    apply(
        kubectl,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": OPERATORS, "namespace": namespace},
            "data": addresses,
        },
    )
