"""Connections whose other side is gone without a word. That they then break off is TCP's work, on Linux."""

from __future__ import annotations

import socket

import pytest

from stromboli.keepalive import notice_absence


@pytest.mark.parametrize("seconds", [30, 60])
def test_a_connection_breaks_off_after_so_many_seconds(seconds: int) -> None:
    with socket.socket() as connection:
        notice_absence(connection, seconds)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, probes = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert idle + interval * probes == seconds
