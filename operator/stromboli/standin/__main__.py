"""`python -m stromboli.standin --socket PATH | --port N  --log FILE`: run the stand-in until SIGTERM or SIGINT.

Prints one line with its address once it listens; a caller waits for that line to know that it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from stromboli.listening import serve_until_stopped
from stromboli.standin.server import Log, Standin


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code is 0 after a signal and 1 if the address is taken or the log cannot be written."""
    options = _parser().parse_args(argv)
    try:
        asyncio.run(_serve(options))
    except OSError as e:
        print(f"stand-in: {e}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stromboli.standin", description="Offline stand-in for the Messages API")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="listen on this Unix socket (an existing one is replaced)")
    where.add_argument("--port", type=int, help="listen on this loopback port; 0 picks a free one")
    parser.add_argument("--log", type=Path, required=True, help="append one JSON line per request to this file")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    log = Log(options.log)
    where = options.port if options.socket is None else options.socket
    try:
        await serve_until_stopped(
            Standin(log).application(),
            where,
            lambda address: print(f"offline stand-in for the Messages API on {address}", flush=True),
        )
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
