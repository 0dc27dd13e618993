"""TCP's own way to find out that the other side of a connection is gone without a word, while nothing is to be sent."""

from __future__ import annotations

import socket

_PROBES = 3


def notice_absence(connection: socket.socket, seconds: int = 60) -> None:
    """Let a connection on which nothing comes break off if the other side has been gone for so many seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds // 2 // _PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
