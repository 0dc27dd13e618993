"""Serves the application by uvicorn, in the event loop that is there: the gateway's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from stromboli import addresses
from stromboli.errors import InvalidSettings
from stromboli.httpapi.connection import ASKING, Connection
from stromboli.httpsettings import ADDRESS

_LEAVE_OPEN = 1  # seconds for answers in progress to end after a signal
_BACKLOG = 2048
_HEAD = 256 * 1024  # bytes of a request before its body: a prompt may be in the query


class _Server(uvicorn.Server):
    """Signals are the process's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at the address; without a host, at all of the machine's. Raises InvalidSettings."""
    every = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if every or ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=every)
    except OSError as e:
        where = addresses.to_text(host, port)
        raise InvalidSettings(f"cannot listen on {where} ({e.strerror}); choose another address", ADDRESS) from e


async def serve(app: FastAPI, sock: socket.socket) -> None:
    """Serve until it is cancelled."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # ours has no query
        server_header=False,
        proxy_headers=False,  # a caller's address counts: nobody may state another one
        h11_max_incomplete_event_size=_HEAD,
        timeout_keep_alive=int(ASKING),
    )
    server = _Server(config)
    try:
        await server.serve(sockets=[sock])
    finally:
        server.should_exit = True
        await _end(server)


async def _end(server: uvicorn.Server) -> None:
    """Accept nothing more, and end what is in progress: what takes long by cancelling it, which is then answered."""
    for each in getattr(server, "servers", ()):  # it has none before it has begun
        each.close()
    for ends in (False, True):
        tasks = set(server.server_state.tasks)
        for task in tasks if ends else ():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LEAVE_OPEN)
