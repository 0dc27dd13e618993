"""A receiver of notifications, as somebody would write one from Stromboli's guide: it checks the signature, and counts.

What it answers is up to the test: a list of statuses, the last of which stays, or a function that has the socket.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 60.0
FRESH = 300  # seconds that a timestamp may be away from now

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    def check(self, key: bytes) -> None:
        """As the guide says: over the raw bytes, and with a look at the clock."""
        timestamp, provided = self.headers["x-stromboli-timestamp"], self.headers["x-stromboli-signature"]
        expected = hmac.new(key, f"{timestamp}.".encode() + self.body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(expected, provided.removeprefix("sha256="))
        assert provided.startswith("sha256=")
        assert abs(time.time() - int(timestamp)) < FRESH


@dataclass
class Receiver:
    """`received` has all requests, in their order. `statuses` are the answers."""

    statuses: list[int] = field(default_factory=lambda: [204])
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def take(self, one: Received) -> int:
        """A request has come; the status to answer with."""
        with self._news:
            self.received.append(one)
            self._news.notify_all()
            return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def wait(self, many: int) -> list[Received]:
        """All requests, once there are so many."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.received) >= many, PATIENCE)
            assert came, f"{len(self.received)} requests in {PATIENCE:.0f} s, not {many}"
            return list(self.received)


@contextmanager
def serving(receiver: Receiver, *, port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """The receiver listens on loopback inside the block, at a port of its own or that one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if receiver.answer is not None:
                receiver.answer(self)
                return
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Discard the access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # one may hang, as the test wants it to
        block_on_close = False
        allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever calls may hang up."""

    with Server(("127.0.0.1", port), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
