"""Which user of this machine has the other end of a connection over loopback: what the kernel says of its sockets.

Loopback alone does not say who calls: other users of the machine reach it too, and so does what a web server there
passes on.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Columns of proc(5)'s net/tcp.
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9


def owner(client: tuple[str, int], server: tuple[str, int], tables: Path = Path("/proc/net")) -> int | None:
    """The uid of the user whose socket is at `client` and connected to `server`; None if there is none any more."""
    local, remote = _unmapped(client[0]), _unmapped(server[0])
    for fields in _rows(tables, client[1], server[1]):
        # A socket that no process has any longer is shown as root's, without an inode.
        if fields[_INODE] != "0" and _address(fields[_LOCAL]) == local and _address(fields[_REMOTE]) == remote:
            return int(fields[_UID])
    return None


def _rows(tables: Path, local: int, remote: int) -> Iterator[list[str]]:
    """The fields of the connections between these ports."""
    ports = f":{local:04X}", f":{remote:04X}"
    for name in ("tcp", "tcp6"):
        try:
            table = (tables / name).read_text(encoding="ascii")
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in table.splitlines()[1:]:
            fields = line.split()
            if fields[_LOCAL].endswith(ports[0]) and fields[_REMOTE].endswith(ports[1]):
                yield fields


def _address(field: str) -> Address:
    """The address in a field such as `0100007F:1F90`: its words are in the byte order of the machine."""
    text = field.partition(":")[0]
    words = (int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8))
    return _unmapped(ipaddress.ip_address(b"".join(words)))


def _unmapped(address: str | Address) -> Address:
    """An IPv4 address that is written as an IPv6 one is the same address."""
    found = ipaddress.ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found
