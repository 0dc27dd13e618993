"""TCP and TLS to the API server of a kubeconfig, directly or through a proxy, by the standard library's HTTP.

A proxy comes from the kubeconfig (`proxy-url`), or from the environment, as for kubectl.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from urllib.parse import SplitResult, unquote, urlsplit

from stromboli import addresses
from stromboli.errors import LocalFailure
from stromboli.keepalive import notice_absence
from stromboli.kube.kubeconfig import Place

CONNECT = 10.0  # seconds
_PROXIES = ("http", "socks5", "socks5h")
_ABSENCE = 30  # seconds after which a server that is gone is noticed, while a watch says nothing


def made(place: Place, context: ssl.SSLContext | None, within: float = CONNECT) -> http.client.HTTPConnection:
    """A connection that is not open yet; `context` for https. Raises LocalFailure."""
    server = _split(place.server, place)
    if server.scheme not in ("https", "http") or not server.hostname:
        raise LocalFailure(f"{place.origin}: the server {place.server} is not a URL https://HOST:PORT")
    port = server.port or (443 if server.scheme == "https" else 80)
    found = _Connection(server.hostname, port, timeout=within)
    found.prepare(_proxy(place, server), context, place.server_name)
    return found


def path(place: Place) -> str:
    """What comes before every path there, without a slash at its end. Raises LocalFailure."""
    return _split(place.server, place).path.rstrip("/")


class _Connection(http.client.HTTPConnection):
    def prepare(self, proxy: SplitResult | None, context: ssl.SSLContext | None, name: str) -> None:
        self._proxy, self._context, self._name = proxy, context, name or self.host

    def connect(self) -> None:
        proxy = self._proxy
        where = (proxy.hostname or "", proxy.port or 1080) if proxy is not None else (self.host, self.port)
        self.sock = socket.create_connection(where, self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        notice_absence(self.sock, _ABSENCE)
        if proxy is not None:
            _through(self.sock, proxy, self.host, self.port)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def _split(url: str, place: Place) -> SplitResult:
    try:
        found = urlsplit(url)
        assert found.port is None or found.port >= 0
        return found
    except ValueError as e:
        raise LocalFailure(f"{place.origin}: {url} is not a URL: {e}") from e


def _proxy(place: Place, server: SplitResult) -> SplitResult | None:
    url = place.proxy or _from_environment(server)
    if not url:
        return None
    found = _split(url if "://" in url else f"http://{url}", place)
    if found.scheme not in _PROXIES or not found.hostname:
        raise LocalFailure(f"the proxy {url} is not supported: use http://HOST:PORT or socks5://HOST:PORT")
    if found.port is None and found.scheme == "http":
        found = found._replace(netloc=f"{found.netloc}:80")
    return found


def _from_environment(server: SplitResult) -> str:
    if not any(name.lower() == f"{server.scheme}_proxy" for name in os.environ):
        return ""
    from urllib.request import getproxies_environment, proxy_bypass

    host = server.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(host):
        return ""
    return getproxies_environment().get(server.scheme, "")


def _through(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """Have the proxy connect to the server. Raises OSError."""
    if proxy.scheme == "http":
        _connect(sock, proxy, host, port)
    else:
        _socks(sock, proxy, host, port)


def _connect(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """HTTP's CONNECT (RFC 9110, 9.3.6)."""
    where = addresses.to_text(host, port)
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # not a byte of what follows: that belongs to TLS
        byte = sock.recv(1)
        if not byte or len(head) > 65536:
            raise OSError("the proxy ended the connection")
        head += byte
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise OSError(f"the proxy answers: {status}")


def _socks(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """SOCKS 5 (RFC 1928), with a user's name and password if there are any (RFC 1929); the proxy resolves names."""
    user, password = (unquote(value or "").encode() for value in (proxy.username, proxy.password))
    sock.sendall(b"\x05\x01\x02" if user else b"\x05\x01\x00")
    chosen = _exactly(sock, 2)
    if chosen == b"\x05\x02" and user:
        sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        if _exactly(sock, 2)[1]:
            raise OSError("the proxy does not accept the user's name and password")
    elif chosen != b"\x05\x00":
        raise OSError("the proxy offers no way to log in that is supported")
    name = host.encode() if host.isascii() else host.encode("idna")
    sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    _, code, _, kind = _exactly(sock, 4)
    if code:
        raise OSError(f"the proxy could not connect to {host}:{port} (SOCKS code {code})")
    length = {1: 4, 4: 16}.get(kind)
    _exactly(sock, (length if length is not None else _exactly(sock, 1)[0]) + 2)


def _exactly(sock: socket.socket, number: int) -> bytes:
    read = b""
    while len(read) < number:
        piece = sock.recv(number - len(read))
        if not piece:
            raise OSError("the proxy ended the connection")
        read += piece
    return read
