"""A Unix socket in front of another one, which counts the HTTP requests that pass through it."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

_REQUEST = re.compile(rb"^(GET|POST|PUT|DELETE|HEAD) /v[0-9.]+(/[a-z]+(?:/[a-z]+)?)", re.MULTILINE)
_BLOCK = 256 * 1024


class Counted(socketserver.ThreadingUnixStreamServer):
    """A context manager; `requests` are by method and the first parts of the path.

    Requests are found at the beginning of what a client sends, so bodies cost nothing.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, path: Path, behind: Path) -> None:
        self.requests: Counter[str] = Counter()
        self.behind = behind
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Connection)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    server: Counted
    request: socket.socket

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as podman:
            podman.connect(str(self.server.behind))
            back = threading.Thread(target=_pass_on, args=(podman, self.request), daemon=True)
            back.start()
            with contextlib.suppress(OSError):  # either side may go at any moment
                while block := _received(self.request):
                    if match := _REQUEST.match(block):
                        self.server.requests[f"{match[1].decode()} {match[2].decode()}"] += 1
                    podman.sendall(block)
                podman.shutdown(socket.SHUT_WR)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := _received(source):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(_BLOCK)
    except OSError:
        return b""
