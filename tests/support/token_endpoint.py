"""The place where the Claude CLI refreshes its login, behind a proxy that ends TLS itself.

The CLI asks https://platform.claude.com/v1/oauth/token. With CLAUDE_CODE_CUSTOM_OAUTH_URL it asks another one, but only
one of a list that is built in (seen: 2.1.332), so a test gives it a proxy (HTTPS_PROXY) and the proxy's CA
(NODE_EXTRA_CA_CERTS).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import signing

HOSTS = ("platform.claude.com", "api.anthropic.com")
PATH = "/v1/oauth/token"


def login(access: str, refresh: str, *, expired: bool = False) -> str:
    """A login as the CLI has it in its file."""
    expires = datetime.now(UTC) + timedelta(hours=-1 if expired else 8)
    login = {
        "accessToken": access,
        "refreshToken": refresh,
        "expiresAt": int(expires.timestamp() * 1000),
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    return json.dumps({"claudeAiOauth": login})


@dataclass(slots=True)
class TokenEndpoint:
    """A refresh token can be used once. `alive` has those that were not yet, and the pair of tokens that each gives."""

    authority: Path
    alive: dict[str, tuple[str, str]]
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def environ(self) -> dict[str, str]:
        """Variables that lead a CLI here."""
        return {"HTTPS_PROXY": f"http://127.0.0.1:{self.port}", "NODE_EXTRA_CA_CERTS": str(self.authority)}

    def answer(self, token: str) -> dict[str, Any] | None:
        """The answer to a refresh; None if the token is dead."""
        self.asked.append(token)
        if token not in self.alive:
            return None
        access, refresh = self.alive.pop(token)
        lasting = {"expires_in": 8 * 3600, "scope": "user:inference user:profile", "token_type": "Bearer"}
        return {"access_token": access, "refresh_token": refresh, **lasting}


@contextmanager
def serving(folder: Path, alive: dict[str, tuple[str, str]]) -> Iterator[TokenEndpoint]:
    """The endpoint and its proxy listen on loopback inside the block; the folder gets their certificates."""
    endpoint = TokenEndpoint(folder / "authority.pem", dict(alive))
    context = _certified(folder, endpoint.authority)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            self.request = context.wrap_socket(self.request, server_side=True)
            self.setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def do_GET(self) -> None:
            self._say(404, {})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != PATH:
                self._say(404, {})
            elif (answer := endpoint.answer(asked["refresh_token"])) is not None:
                self._say(200, answer)
            else:
                self._say(400, {"error": "invalid_grant"})

        def _say(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Discard the access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The CLI hangs up as it likes."""

    with Server(("127.0.0.1", 0), Handler) as server:
        endpoint.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


def _certified(folder: Path, authority: Path) -> ssl.SSLContext:
    now, day = datetime.now(UTC), timedelta(days=1)
    ca_key, key = signing.new_key(), signing.new_key()
    ca = signing.authority("token endpoint", ca_key, now, day)
    names = [x509.DNSName(host) for host in HOSTS]
    leaf = signing.leaf("token endpoint", key, (ca, ca_key), [ExtendedKeyUsageOID.SERVER_AUTH], names, now, day)
    authority.write_bytes(ca.public_bytes(Encoding.PEM))
    both = folder / "endpoint.pem"
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(plain + leaf.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
