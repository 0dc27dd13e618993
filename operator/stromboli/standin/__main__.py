"""`python -m stromboli.standin --socket PATH | --port N  --log FILE`: run the stand-in until TERM or INT.

Prints one line once it listens, with the address in it; a caller that wants to know when it is ready reads that.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from stromboli.standin.server import Log, Standin

_LOOPBACK = "127.0.0.1"
_LEAVE_OPEN = 0.5  # seconds that answers under way get to end after TERM


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code is 0 after a signal and 1 if the address or the log is not to be had."""
    options = _parser().parse_args(argv)
    try:
        asyncio.run(_serve(options))
    except OSError as e:
        print(f"stand-in: {e}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stromboli.standin", description="Offline stand-in of the Messages API")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="listen on this Unix socket (an old one there is replaced)")
    where.add_argument("--port", type=int, help="listen on this port of the loopback address; 0 picks a free one")
    parser.add_argument("--log", type=Path, required=True, help="append one JSON line per request to this file")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    log = Log(options.log)
    runner = web.AppRunner(Standin(log).application(), access_log=None, shutdown_timeout=_LEAVE_OPEN)
    await runner.setup()
    try:
        print(f"offline stand-in of the Messages API on {await _listen(runner, options)}", flush=True)
        await _stopped()
    finally:
        await runner.cleanup()
        log.close()


async def _listen(runner: web.AppRunner, options: argparse.Namespace) -> str:
    if options.socket is None:
        await web.TCPSite(runner, _LOOPBACK, options.port).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"
    options.socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(options.socket)).start()
    # The image's user may be any uid; who may reach the socket is decided by the folder that it lies in.
    options.socket.chmod(0o666)
    return f"unix://{options.socket}"


async def _stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
