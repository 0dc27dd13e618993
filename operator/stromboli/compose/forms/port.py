"""A published or exposed port in short form: `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, where ports may be ranges."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

MOST = 2_000  # ports of the container in one range

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_FORMS = 'write CONTAINER, HOST:CONTAINER or IP:HOST:CONTAINER, such as "8080:80" or "53:53/udp"'


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the container. `published` is a port of the node, a range to choose from, or None for any."""

    target: int
    published: str | None = None
    host_ip: str | None = None
    protocol: str = "tcp"


def parse(text: str) -> tuple[Port, ...]:
    """The ports that a text stands for. Raises InvalidInput."""
    rest, _, container = text.rpartition(":")
    address, _, host = rest.rpartition(":")
    first, last, protocol = _exposed(container, text)
    host_ip = _address(address, text) if address else None
    if not host or host == "0":
        return tuple(Port(port, None, host_ip, protocol) for port in range(first, last + 1))
    low, high = _range(host, text)
    if first == last and low != high:
        return (Port(first, f"{low}-{high}", host_ip, protocol),)
    if last - first != high - low:
        raise InvalidInput(f'"{quoted(text)}" has two ranges of different length')
    return tuple(Port(first + n, str(low + n), host_ip, protocol) for n in range(last - first + 1))


def exposed(text: str) -> tuple[Port, ...]:
    """The ports that an entry of `expose` stands for: `CONTAINER[/PROTOCOL]`. Raises InvalidInput."""
    first, last, protocol = _exposed(text, text)
    return tuple(Port(port, protocol=protocol) for port in range(first, last + 1))


def _exposed(container: str, text: str) -> tuple[int, int, str]:
    ports, slash, protocol = container.partition("/")
    if slash and protocol.lower() not in _PROTOCOLS:
        raise InvalidInput(f'"{quoted(text)}" has no known protocol after the slash; write tcp, udp or sctp')
    first, last = _range(ports, text)
    if first == 0:
        raise InvalidInput(f'"{quoted(text)}" has port 0 of the container; ports are 1 to 65535')
    if last - first >= MOST:
        raise InvalidInput(f'"{quoted(text)}" is a range of {last - first + 1} ports; at most {MOST}')
    return first, last, protocol.lower() or "tcp"


def _range(ports: str, text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(ports)
    if not match:
        raise InvalidInput(f'"{quoted(text)}" is not a port; {_FORMS}')
    first, last = int(match[1]), int(match[2] or match[1])
    if max(first, last) > 65535:
        raise InvalidInput(f'"{quoted(text)}" has a port above 65535')
    if last < first:
        raise InvalidInput(f'"{quoted(text)}" has a range that ends before it begins')
    return first, last


def _address(text: str, whole: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.ip_address(text[1:-1] if bracketed else text)
    except ValueError:
        address = None
    if address is None or "%" in text or bracketed != (address.version == 6):
        raise InvalidInput(
            f'"{quoted(whole)}" does not begin with an IP address; write one such as 127.0.0.1 or [::1], or none'
        )
    return str(address)
