"""Keeps the addresses of the bridges of our networks as they are. Blocking.

By itself, the kernel gives a bridge the lowest Ethernet address of its ports, which are as many as containers run. So
when one of them starts or ends, the bridge may have another address. Those that go on do not know: for 5 s, or for a
minute, whatever they send to their gateway is lost, and that is their name server and their way out. An address that
was set stays. netavark sets it since 1.9; Debian 12 has 1.4.

That needs the network namespace in which the bridges are, and CAP_NET_ADMIN there: a local installation of root has
both. In a Pod, and with rootless Podman, no bridge is found here, and nothing is done.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
from pathlib import Path

from stromboli.podman.networks import BRIDGE

log = logging.getLogger(__name__)

_INTERFACES = Path("/sys/class/net")
_SET = "3"  # NET_ADDR_SET (linux/netdevice.h)
_GET_ADDRESS, _SET_ADDRESS = 0x8927, 0x8924  # SIOCGIFHWADDR, SIOCSIFHWADDR (linux/sockios.h)
_REQUEST = "16s24x"  # struct ifreq (linux/if.h): the name, and here only room for the address


def hold() -> None:
    """From now on, the bridges that are there keep the address that they have."""
    for folder in _INTERFACES.glob(f"{BRIDGE}*"):
        try:
            if (folder / "addr_assign_type").read_text().strip() != _SET:
                _hold(folder.name)
        except OSError as error:  # it has just gone, or may not be changed
            log.debug("the address of the bridge %s may change: %s", folder.name, error)


def _hold(bridge: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        address = fcntl.ioctl(asking, _GET_ADDRESS, struct.pack(_REQUEST, bridge.encode()))
        fcntl.ioctl(asking, _SET_ADDRESS, address)
