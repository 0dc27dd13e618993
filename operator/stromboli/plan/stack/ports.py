"""Whether a service without a health check accepts connections, by its network namespace's listening sockets. Pure.

They are read from the kernel's tables (/proc/PID/net/tcp and tcp6), so no connection is made, which a database may log
as an attack, and no tool is needed in the image. A socket that is bound to loopback counts only if whoever asks is in
the same namespace: MongoDB's image, for one, first starts a server for its scripts there.

Which ports: those that the file names for the service (`ports`, `expose`), since they are what others connect to; if
there are none, those that the image exposes. Of several ports, all are waited for only for a moment. Images expose
ports on which nothing listens unless it is configured (RabbitMQ's TLS, ZooKeeper's peers), and files name ranges of
ports (LocalStack's 50), so that waiting for all would use up the whole time limit; and the first one may be a helper's
(RabbitMQ's epmd). So a service is ready once all listen, or once some listen and no further one has followed for
SETTLE seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from stromboli.compose.stack import Service
from stromboli.plan.stack.image import Image

SETTLE = 2.0
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_WORD = 8  # hex digits of 32 bits, which are in the order of the machine
_V4_IN_V6 = bytes(10) + b"\xff\xff"
_LOOPBACK_V6 = bytes(15) + b"\x01"


@dataclass(frozen=True, slots=True)
class Listening:
    """The ports on which a namespace listens: for everybody on its networks, and on loopback only."""

    open: frozenset[int] = frozenset()
    loopback: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one start of a container. `heard` are those that have listened so far, the last new one at `last`.

    `local`: loopback counts, since the namespace is shared with whoever waits.
    """

    wanted: frozenset[int]
    local: bool = False
    heard: frozenset[int] = frozenset()
    last: float = 0.0
    ready: bool = False


def of(service: Service, image: Image) -> frozenset[int]:
    """The TCP ports by which the service is judged; none if it names and exposes none."""
    named = frozenset(port.container for port in (*service.ports, *service.expose) if port.protocol == "tcp")
    return named or image.tcp


def step(ports: Ports, found: Listening, now: float) -> Ports:
    """The state after a look at the tables."""
    heard = ports.wanted & (found.open | found.loopback if ports.local else found.open)
    last = now if heard - ports.heard else ports.last
    ready = ports.ready or heard == ports.wanted or (bool(heard) and now - last >= SETTLE)
    return replace(ports, heard=ports.heard | heard, last=last, ready=ready)


def listening(tables: Iterable[str]) -> Listening:
    """What the contents of such tables say. Lines that are not the kernel's are passed over."""
    open_, loopback = set[int](), set[int]()
    for table in tables:
        for address, port in _sockets(table):
            (loopback if _is_loopback(address) else open_).add(port)
    return Listening(frozenset(open_), frozenset(loopback - open_))


def _sockets(table: str) -> Iterator[tuple[bytes, int]]:
    for line in table.splitlines():
        match line.split(maxsplit=4):
            case [_, local, _, state, *_] if state == _LISTEN:
                address, _, port = local.partition(":")
                try:
                    yield _address(address), int(port, 16)
                except ValueError:
                    continue


def _address(text: str) -> bytes:
    """The address in network order. Raises ValueError."""
    if len(text) not in (_WORD, 4 * _WORD):
        raise ValueError(f"not an address: {len(text)} digits")
    words = (bytes.fromhex(text[n : n + _WORD]) for n in range(0, len(text), _WORD))
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)


def _is_loopback(address: bytes) -> bool:
    if len(address) == 4 or address.startswith(_V4_IN_V6):
        return address[-4] == 127
    return address == _LOOPBACK_V6
