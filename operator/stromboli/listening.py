"""An aiohttp application on a Unix socket or a port of the loopback address, until the process is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

_LOOPBACK = "127.0.0.1"
_LEAVE_OPEN = 0.5  # seconds that answers under way get to end after TERM


async def serve_until_stopped(app: web.Application, where: Path | int, listening: Callable[[str], None]) -> None:
    """Serve on a socket's path or on a port (0 picks a free one) until TERM or INT. Raises OSError.

    `listening` is called with the address once there is somebody to connect to.
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
    # The image's user may be any uid; who may reach the socket is decided by the folder that it lies in.
    where.chmod(0o666)
    return f"unix://{where}"


async def _stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
