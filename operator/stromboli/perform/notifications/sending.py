"""One request to a receiver that a user has named.

Its name is resolved once, all of its addresses are judged, and the connection is made to one that was found good: what
the name stands for a moment later does not matter. The certificate is checked against the name. Redirections are not
followed, no proxy is used, nothing of the answer but its status is read, and whatever the receiver does, it is over
after a while.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from stromboli.apart import apart
from stromboli.errors import NotDelivered
from stromboli.grammar.receiver import Receiver
from stromboli.plan.receivers import Address

CONNECT = 5.0  # seconds for a connection to an address
TOTAL = 15.0  # seconds for everything
_HEADERS = 16 * 1024  # bytes of one line of an answer's head
MOST = 8  # addresses of a name that are tried

Judge = Callable[[Address, bool], str | None]  # why none may go to an address, which may be the node's own
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a host, as the node's resolver has them. Raises OSError, UnicodeError."""
    found = await apart(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(ip_address(one[4][0]) for one in found))


class Sender:
    """Sends notifications. `context` says whose certificates are believed."""

    def __init__(self, resolve: Resolve = resolve, context: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._context = context

    async def post(self, url: str, receiver: Receiver, headers: Mapping[str, str], body: bytes, judge: Judge) -> int:
        """The status of the receiver's answer. Raises NotDelivered."""
        try:
            async with asyncio.timeout(TOTAL):
                addresses = await self._good(receiver, judge)
                return await self._sent(url, receiver, addresses, headers, body)
        except TimeoutError:
            raise NotDelivered(f"{receiver.shown} does not answer within {TOTAL:.0f} s") from None

    async def _good(self, receiver: Receiver, judge: Judge) -> Sequence[Address]:
        """The addresses of the receiver that a notification may go to."""
        try:
            found = await self._resolve(receiver.host, receiver.port)
        except (OSError, UnicodeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
            raise NotDelivered(f"{receiver.shown} cannot be resolved: {why}") from None
        refusals = {address: judge(address, _is_own(address)) for address in found}
        good = [address for address, why in refusals.items() if why is None]
        if not good:
            why = next((why for why in refusals.values() if why), "the name has no address")
            raise NotDelivered(f"{receiver.shown} may not be called: {why}", refused=True)
        return good[:MOST]

    async def _sent(
        self, url: str, receiver: Receiver, addresses: Sequence[Address], headers: Mapping[str, str], body: bytes
    ) -> int:
        connector = aiohttp.TCPConnector(
            resolver=_Resolved(addresses),
            socket_factory=_only(addresses),
            ssl=await self._trusted() if receiver.scheme == "https" else False,
            use_dns_cache=False,
            force_close=True,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
            trust_env=False,  # neither a proxy nor a .netrc
            auto_decompress=False,
            max_line_size=_HEADERS,
            max_field_size=_HEADERS,
        )
        try:
            async with (
                session,
                session.post(URL(url, encoded=True), data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: an answer that is not HTTP
            raise NotDelivered(f"{receiver.shown} {_said(error)}") from None

    async def _trusted(self) -> ssl.SSLContext:
        """Whose certificates are believed; it takes a while to read them."""
        if self._context is None:
            self._context = await apart(ssl.create_default_context)
        return self._context


class _Resolved(AbstractResolver):
    """A resolver that knows the addresses already."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=_family(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        return


def _only(addresses: Sequence[Address]) -> Callable[[Any], socket.socket]:
    """Makes the sockets of connections to these addresses, and to no other, whatever has become of the host's name on
    the way here. Raises OSError.
    """

    def made(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if ip_address(host) not in addresses:
            raise OSError(f"{host} is not an address that was judged")
        return socket.socket(family, kind, protocol)

    return made


def _is_own(address: Address) -> bool:
    """Whether it is an address of this node: what is sent there comes from there. Nothing is sent to find that out."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:  # nothing leads there
            return False
        return ip_address(probe.getsockname()[0]) == address


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def _said(error: Exception) -> str:
    """What has happened, in words that have nothing of the URL in them, and nothing that the receiver has sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as why):
            return f"has a certificate that is not valid: {why.verify_message}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return "does not speak TLS as it should"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int() as number)):
            return f"cannot be connected to: {os.strerror(number)}"
        case aiohttp.ClientConnectorError():
            return "cannot be connected to"
        case TimeoutError():
            return f"cannot be connected to within {CONNECT:.0f} s"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "closes the connection without an answer"
        case _:
            return f"does not answer as HTTP servers do ({type(error).__name__})"
