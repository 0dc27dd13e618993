"""`python -m stromboli.relay --socket PATH --to URL`: run the relay until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from stromboli.listening import serve_until_stopped
from stromboli.relay.server import application


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code is 0 after a signal and 1 if the socket cannot be created."""
    parser = argparse.ArgumentParser(prog="stromboli.relay", description="Relay to the Messages API")
    parser.add_argument("--socket", type=Path, required=True, help="listen on this Unix socket")
    parser.add_argument("--to", required=True, help="base URL of the API")
    options = parser.parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_serve(options.socket, options.to))
    except OSError as e:
        print(f"relay: {e}", file=sys.stderr)
        return 1
    return 0


async def _serve(socket: Path, to: str) -> None:
    async with application(to) as app:
        await serve_until_stopped(app, socket, lambda where: print(f"relay to {to} on {where}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
