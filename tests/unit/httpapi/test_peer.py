"""Whose the other end of a connection is, by real sockets and by tables as the kernel writes them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stromboli.httpapi import peer

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0000000000000000 20\n"
CLIENT, SERVER = ("127.0.0.1", 0xD431), ("127.0.0.1", 8080)
little = pytest.mark.skipif(sys.byteorder != "little", reason="these tables are of such a machine")


@contextmanager
def connected(host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and what the server has of its connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as server:
        target = "127.0.0.1" if host == "::" else host
        with socket.create_connection((target, server.getsockname()[1])) as client, closing(server.accept()[0]) as end:
            yield client, end


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_of_a_connection_that_is_there(host: str) -> None:
    """With a server of both families, the addresses of an IPv4 client are written as IPv6 ones."""
    with connected(host) as (client, accepted):
        client_at, here = accepted.getpeername()[:2], accepted.getsockname()[:2]
        assert peer.owner(client_at, here) == os.getuid()
        assert peer.owner((client_at[0], client_at[1] - 1), here) is None
        client.close()
        assert peer.owner(client_at, here) is None, "nobody has it any longer"


def tables(tmp_path: Path, *rows: str, name: str = "tcp") -> Path:
    (tmp_path / name).write_text(HEAD + "".join(rows))
    return tmp_path


@little
def test_by_both_ends(tmp_path: Path) -> None:
    """The server's own end is in the table as well, and so are others' connections between the same ports."""
    found = tables(
        tmp_path,
        ROW.format(local="00000000:1F90", remote="00000000:0000", uid=0, inode=11),
        ROW.format(local="0100007F:1F90", remote="0100007F:D431", uid=1, inode=12),
        ROW.format(local="0200007F:D431", remote="0100007F:1F90", uid=2, inode=13),
        ROW.format(local="0100007F:D431", remote="0200007F:1F90", uid=3, inode=14),
        ROW.format(local="0100007F:D431", remote="0100007F:1F90", uid=1000, inode=15),
    )
    assert peer.owner(CLIENT, SERVER, found) == 1000
    assert peer.owner(("::ffff:127.0.0.1", CLIENT[1]), ("::ffff:127.0.0.1", 8080), found) == 1000


@little
def test_a_client_of_ipv6(tmp_path: Path) -> None:
    loopback, mapped = "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"
    found = tables(
        tmp_path,
        ROW.format(local=f"{loopback}:D431", remote=f"{loopback}:1F90", uid=7, inode=1),
        ROW.format(local=f"{mapped}:D432", remote=f"{mapped}:1F90", uid=8, inode=1),
        name="tcp6",
    )
    assert peer.owner(("::1", 0xD431), ("::1", 8080), found) == 7
    assert peer.owner(("127.0.0.1", 0xD432), SERVER, found) == 8


@little
def test_one_that_its_process_has_closed_is_nobodys_although_it_looks_like_roots(tmp_path: Path) -> None:
    found = tables(tmp_path, ROW.format(local="0100007F:D431", remote="0100007F:1F90", uid=0, inode=0))
    assert peer.owner(CLIENT, SERVER, found) is None
