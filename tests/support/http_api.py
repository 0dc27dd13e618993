"""The HTTP API of a gateway for tests: the real process, called as programs call it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from stromboli.naming import API_SERVICE
from tests.support.cluster import Kubectl
from tests.support.gateways import GatewayProcess

SECONDS = 120.0  # for an answer: a run may be behind it
Typed = Callable[[str], Any]
NO_TOKEN = ""  # a call as the local user


@dataclass(frozen=True)
class Answer:
    """An answer; `body` is its JSON, or its text if it has none."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class HttpApi:
    """The HTTP API, and a user of it: a ServiceAccount of `namespace` with the roles stromboli-user and
    stromboli-secret-keeper there.
    """

    gateway: GatewayProcess
    kubectl: Kubectl
    namespace: str
    token: str

    @property
    def base(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.gateway.http_port}"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        within: float = SECONDS,
    ) -> Answer:
        """One call; `body` is sent as JSON. With `token`, somebody else's; with NO_TOKEN as the local user."""
        sent = self._headers(token, headers)
        with httpx2.Client(base_url=self.base, trust_env=False, timeout=within) as client:
            content = None if body is None else json.dumps(body).encode()
            answer = client.request(method, path, content=content, headers=sent)
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return Answer(answer.status_code, answer.json() if is_json else answer.text, dict(answer.headers))

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        within: float = SECONDS,
    ) -> Iterator[httpx2.Response]:
        """An answer that is read as it comes, such as by `iter_lines()`; leaving the block hangs up."""
        sent = {"Accept": "text/event-stream", **self._headers(token, headers)}
        with httpx2.Client(base_url=self.base, trust_env=False, timeout=within) as client:
            content = None if body is None else json.dumps(body).encode()
            with client.stream(method, path, content=content, headers=sent) as answer:
                yield answer

    def kill(self) -> None:
        """End the gateway at once. Until it is started again, no namespace can be deleted."""
        self.gateway.kill()

    def start(self) -> None:
        """Start it again, on the same port; the API server reaches it again, too."""
        self.gateway.start()
        self.kubectl("wait", "--for=condition=Available", "apiservice", API_SERVICE, "--timeout=25s")

    def user_of(self, namespace: str) -> HttpApi:
        """The same for such a user of another namespace, which exists."""
        return replace(self, namespace=namespace, token=user(self.kubectl, namespace))

    def _headers(self, token: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
        shown = self.token if token is None else token
        return {**({"Authorization": f"Bearer {shown}"} if shown else {}), **(headers or {})}


def shell(api: HttpApi, home: Path, namespace: str) -> Typed:
    """Types a command into a shell, on a machine where the gateway is at localhost:8080; its answer, as JSON. What it
    does is in that namespace.
    """
    home.mkdir()
    lines = (
        f'connect-to = "localhost:8080:127.0.0.1:{api.gateway.http_port}"',
        f'header = "X-Stromboli-Namespace: {namespace}"',
    )
    (home / ".curlrc").write_text("".join(f"{line}\n" for line in lines))

    def run(script: str) -> Any:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
        command = ["sh", "-ec", script]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=True)
        return json.loads(done.stdout)

    return run


def user(kubectl: Kubectl, namespace: str) -> str:
    """The token of a new ServiceAccount as described at HttpApi."""
    who = {"kind": "ServiceAccount", "name": "http-user", "namespace": namespace}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": who["name"], "namespace": namespace}},
        *(
            _rbac(namespace, "RoleBinding", role, subjects=[who], roleRef=_reference("ClusterRole", role))
            for role in ("stromboli-user", "stromboli-secret-keeper")
        ),
    ]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return kubectl("-n", namespace, "create", "token", who["name"], "--duration=3h").strip()


def _rbac(namespace: str, kind: str, name: str, **body: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta, **body}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
