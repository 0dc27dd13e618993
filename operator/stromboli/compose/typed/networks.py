"""A service's place among the others: its networks, its names, its ports, its hosts file."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from stromboli.compose import stack
from stromboli.compose.forms import extra_host, link, port
from stromboli.compose.stack import HOST_GATEWAY
from stromboli.compose.typed.base import Ignored, Obeyed, Strict, Wrong
from stromboli.compose.typed.values import each, form, integer, members, one_of, text, unfit, word
from stromboli.errors import InvalidInput

_HOSTNAME = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9_])?")  # 64 characters, as Linux has it
_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
MOST_EXPOSED = 500
_API = ("anthropic.com", "claude.ai", "claude.com")
_MODES = ("none", "bridge", "host")
_SERVICE = "service:"
_ADDRESS = "two sessions with the same file would collide; use the service's name instead of an address"


def not_the_api(name: str) -> None:
    """Raises ValueError for a name to which agents send their credentials."""
    small = name.lower().rstrip(".")
    if any(f".{small}".endswith(f".{domain}") for domain in _API):
        raise ValueError("is a name of the Messages API, to which agents send their credentials; choose another name")


def _link(text: str) -> tuple[str, str | None]:
    found = link.parse(text)
    not_the_api(found[1] or "")
    return found


def _host(text: str) -> str:
    found = extra_host.host(text)
    not_the_api(found)
    return found


def hostname(value: object) -> str:
    found = word(value)
    not_the_api(found)
    if not _HOSTNAME.fullmatch(found):
        raise ValueError("is not a host name: it has to have up to 64 letters, digits, - and . only")
    return found


def container_name(value: object) -> str:
    found = text(value)
    not_the_api(found)
    if not _CONTAINER.fullmatch(found):
        raise ValueError(
            "is not a name: it has to have 2 to 63 letters, digits, _, - and . only, the first one no sign"
        )
    return found


def network_mode(value: object) -> str:
    """`none`, `bridge`, `host` or `service:NAME`; whether `host` is allowed is up to a policy."""
    found = text(value)
    if found in _MODES or (found.startswith(_SERVICE) and unfit(found.removeprefix(_SERVICE)) is None):
        return found
    raise ValueError(
        "is not supported: it can be none, bridge, or service:NAME for another service of this file; other "
        "containers' namespaces, and Podman's own modes, are out of reach"
    )


def _aliases(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each(hostname)(value)))


class Attachment(Strict):
    """How a service is on one network."""

    refused: ClassVar = {
        "ipv4_address": _ADDRESS,
        "ipv6_address": _ADDRESS,
        "link_local_ips": _ADDRESS,
        "mac_address": _ADDRESS,
        "driver_opts": "take it out",
        "interface_name": "take it out",
        "gw_priority": "take it out",
        "priority": "take it out",
    }

    aliases: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(_aliases)], Obeyed("Not another service's name.")
    ] = ()


def attachments(value: object) -> dict[str, object]:
    """`networks` of a service: one without options is on the network all the same."""
    found = members(value)
    for name in found:
        if why := unfit(name):
            raise Wrong((name,), why)
    return {name: {} if one is None else one for name, one in found.items()}


Attachments = Annotated[dict[str, Attachment], BeforeValidator(attachments)]


def _port_number(value: object) -> int:
    found = integer(value)
    if not 1 <= found <= 65535:
        raise ValueError("is not a port: ports are 1 to 65535")
    return found


def _published(value: object) -> tuple[int, int] | None:
    """The first and the last of the node's ports to choose from; None for any."""
    digits = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if digits in ("", "0"):
        return None
    first, dash, last = digits.partition("-")
    found = (_port_number(first), _port_number(last if dash else first))
    if found[1] < found[0]:
        raise ValueError("is a range that ends before it begins")
    return found


def _address(value: object) -> str | None:
    found = text(value)
    if not found:
        return None
    try:
        address = extra_host.address(found)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    if address == HOST_GATEWAY:
        raise ValueError("is not an IP address")
    return address


def _protocol(value: object) -> str:
    return one_of("tcp", "udp", "sctp")(text(value).lower())


class Port(Strict):
    """One of a service's ports."""

    target: Annotated[Annotated[int, BeforeValidator(_port_number)], Obeyed()]
    published: Annotated[
        Annotated[tuple[int, int] | None, BeforeValidator(_published)],
        Obeyed("Only with the policy's `allowPorts`."),
    ] = None
    host_ip: Annotated[Annotated[str | None, BeforeValidator(_address)], Obeyed("Only with `allowPorts`.")] = None
    protocol: Annotated[Annotated[str, BeforeValidator(_protocol)], Obeyed()] = "tcp"
    mode: Annotated[
        Annotated[str, BeforeValidator(one_of("host", "ingress"))] | None, Ignored("there is one node only")
    ] = None
    name: Annotated[Annotated[str, BeforeValidator(text)] | None, Ignored("it is a name for people")] = None
    app_protocol: Annotated[Annotated[str, BeforeValidator(text)] | None, Ignored("it is a note for people")] = None

    def typed(self, at: str) -> stack.Port:
        first, last = self.published or (None, None)
        return stack.Port(at, self.target, self.protocol, first, self.host_ip, last if last != first else None)


def _exposed(value: object) -> tuple[port.Port, ...]:
    digits = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    return form(port.exposed)(digits)


class ExtraHost(Strict):
    """One of `extra_hosts`."""

    written: ClassVar = False

    host: Annotated[Annotated[str, BeforeValidator(form(_host))], Obeyed()]
    address: Annotated[Annotated[str, BeforeValidator(form(extra_host.address))], Obeyed()]


def _exposures(value: object) -> tuple[tuple[port.Port, ...], ...]:
    left = MOST_EXPOSED

    def read(one: object) -> tuple[port.Port, ...]:
        nonlocal left
        found = _exposed(one)
        left -= len(found)
        if left < 0:
            raise ValueError(f"is one too many: a service may expose {MOST_EXPOSED} ports, each of a range counted")
        return found

    return each(read)(value)


Exposed = Annotated[tuple[tuple[port.Port, ...], ...], BeforeValidator(_exposures)]
Links = Annotated[tuple[tuple[str, str | None], ...], BeforeValidator(each(form(_link)))]
Hostname = Annotated[str, BeforeValidator(hostname)]
ContainerName = Annotated[str, BeforeValidator(container_name)]
NetworkMode = Annotated[str, BeforeValidator(network_mode)]
