"""An additional line of /etc/hosts in short form: `NAME=ADDRESS` or `NAME:ADDRESS`."""

from __future__ import annotations

import ipaddress
import re

from stromboli.compose.problem import quoted
from stromboli.compose.stack import HOST_GATEWAY
from stromboli.errors import InvalidInput

MOST = 100  # addresses of one name

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,251}[a-zA-Z0-9])?")


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """The name, and its addresses. Raises InvalidInput."""
    name, separator, addresses = text.partition("=" if "=" in text else ":")
    if not separator:
        raise InvalidInput(f'"{quoted(text)}" has no address; write NAME=ADDRESS')
    if addresses.count(",") >= MOST:
        raise InvalidInput(f"has more than {MOST} addresses")
    return host(name), tuple(address(each) for each in addresses.split(","))


def host(name: str) -> str:
    """The name of a host as it is. Raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f'"{quoted(name)}" is not the name of a host, which has letters, digits, ., - and _')
    return name


def address(text: str) -> str:
    """An IP address without brackets, or `host-gateway`. Raises InvalidInput."""
    if text == HOST_GATEWAY:
        return text
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        found = None
    if found is None or "%" in bare:
        raise InvalidInput(f'"{quoted(text)}" is not an IP address; write one such as 203.0.113.7 or [2001:db8::1]')
    return str(found)
