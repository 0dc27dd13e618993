"""Where the installation's HTTP API is: its address, which the gateway is told, and whether it answers there.

By default it is 127.0.0.1:8080, as in Stromboli's documentation, or another port while another process has that one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from stromboli import addresses, bounds, files, visible
from stromboli.controlplane import ports
from stromboli.errors import InvalidSettings, LocalFailure
from stromboli.local.home import Home

ADDRESS = "STROMBOLI_SERVER_ADDRESS"
PORT = 8080
_NAME = "http"
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 15.0  # it may wait for an operator that says nothing
_WELL_SECONDS = 5.0
_AGAIN = 0.1
_LONGEST = 300  # characters of an answer that are shown
_EVERY = ("", "0.0.0.0", "::")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class HttpApi:
    """The HTTP API of `home`. `stated` are the keys under `server:` that the user has set."""

    home: Home
    stated: Mapping[str, Any]

    def address(self, *, running: bool) -> Address:
        """Where the gateway is to listen, which is where it does, if that still holds; `running` says whether it does.

        Raises LocalFailure if another process has the address that the user has set.
        """
        used = self.used() if running else None
        wanted = self._wanted()
        if wanted is None:
            if used in ((ports.HOST, PORT), (ports.HOST, self._own_port())):
                return used
            return ports.HOST, PORT if ports.free(PORT) else self._settle(None)
        host, port = wanted
        if port == 0:
            return host, self._settle(used)
        if used != wanted and not ports.free(port, host):
            where = addresses.to_text(host, port)
            raise LocalFailure(
                f"{ADDRESS}: another process has {where}, where the HTTP API should be",
                f"end that process, or choose another address, such as {ADDRESS}={ports.HOST}:0 for any free port",
            )
        return wanted

    def used(self) -> Address | None:
        """Where it was last told to listen; None if it never was."""
        try:
            return addresses.parse_listening(self.home.http_address.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def record(self, address: Address) -> None:
        """Keep in mind where it is told to listen."""
        files.write_private(self.home.http_address, addresses.to_text(*address).encode())

    def displaced(self) -> bool:
        """Whether it is not at the usual port only because another process has that."""
        return self._wanted() is None and self.used() not in (None, (ports.HOST, PORT))

    def url(self) -> str | None:
        """Where programs on this machine reach it; None if it never was anywhere."""
        if (used := self.used()) is None:
            return None
        return f"http://{addresses.to_text(_loopback(used[0]), used[1])}"

    def line(self) -> str:
        """For people: where it is, and why not elsewhere."""
        said = f"HTTP API: {self.url()}"
        if self.displaced():
            said += f", since another process has port {PORT}; {ADDRESS}={ports.HOST}:PORT chooses one"
        elif (used := self.used()) is not None and used[0] in _EVERY:
            said += ", and on every other address of this machine, where calls need a token"
        return said

    def problem(self) -> str | None:
        """Why nothing listens there; None if something does, whatever it says."""
        if (used := self.used()) is None:
            return "the HTTP API was never started"
        host, port = _loopback(used[0]), used[1]
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
        except OSError as e:
            return f"the HTTP API does not answer at {addresses.to_text(host, port)}: {e.strerror or e}"
        return None

    def trouble(self) -> str | None:
        """What it says is wrong, or why it says nothing; None if it can serve."""
        if (problem := self.problem()) is not None:
            return problem
        try:
            with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
                answer = client.get(f"{self.url()}/health")
        except httpx.TransportError as e:
            return f"the HTTP API does not answer at {self.url()}: {e or type(e).__name__}"
        return None if answer.is_success else f"it answers {answer.status_code}: {_wrong(answer.text)}"

    def await_well(self) -> str | None:
        """The same, once nothing is wrong or a few seconds have passed: it may have seen the operator a moment ago,
        before that was started.
        """
        limit = time.monotonic() + _WELL_SECONDS
        while (trouble := self.trouble()) is not None and time.monotonic() < limit:
            time.sleep(_AGAIN)
        return trouble

    def _wanted(self) -> Address | None:
        if not (given := self.stated.get("address")):
            return None
        try:
            return addresses.parse_listening(str(given))
        except ValueError as e:
            raise InvalidSettings(str(e), ADDRESS) from e

    def _own_port(self) -> int | None:
        return ports.read(self.home.http_port, [_NAME]).get(_NAME)

    def _settle(self, used: Address | None) -> int:
        """A free port, the same each time while no other process takes it."""
        in_use = [_NAME] if used is not None and used[1] == self._own_port() else []
        return ports.settle(self.home.http_port, in_use, [_NAME])[_NAME]


def _loopback(host: str) -> str:
    """Where programs of this machine reach a server that listens there."""
    if host in _EVERY:
        return "::1" if host == "::" else ports.HOST
    return host


def _wrong(text: str) -> str:
    """What an answer of /health says is wrong, part by part."""
    try:
        parts = bounds.json_document(text, bounds.ANSWER)["components"]
        said = "; ".join(f"{part['name']}: {part['error']}" for part in parts if part["error"])
    except (ValueError, KeyError, TypeError):
        said = text.strip()
    return visible.text(said)[:_LONGEST]
