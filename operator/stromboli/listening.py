"""Serves an aiohttp application on a Unix socket or a loopback port until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

_LOOPBACK = "127.0.0.1"
_LEAVE_OPEN = 0.5  # seconds for responses in progress to finish after a signal


async def serve_until_stopped(app: web.Application, where: Path | int, listening: Callable[[str], None]) -> None:
    """Serve on a Unix socket path or a port (0 picks a free one) until SIGTERM or SIGINT. Raises OSError.

    `listening` is called with the address once connections are accepted.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LEAVE_OPEN)
    await runner.setup()
    try:
        listening(await _listen(runner, where))
        await _stopped()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, where: Path | int) -> str:
    if isinstance(where, int):
        await web.TCPSite(runner, _LOOPBACK, where).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"
    where.unlink(missing_ok=True)
    await web.UnixSite(runner, str(where)).start()
    # The image's user may be any UID; access to the socket is controlled by the permissions of its folder.
    where.chmod(0o666)
    return f"unix://{where}"


async def _stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
