"""Run as a program: the route of outputs over TLS in a process of its own, whose memory can be measured.

    python -m tests.support.log_server FOLDER

FOLDER gets `ca.pem` and then `address`: the port, and the folder of the records of a run that is running.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from stromboli.api.answers import errors_as_status
from stromboli.api.logs import LogRoutes
from stromboli.keys import contexts
from stromboli.keys.certificates import Subject, new_authority, new_leaf
from stromboli.tlslistener import Limits, Listener, bound
from tests.unit.perform.test_logs_steps import Bed


async def serve(folder: Path) -> None:
    """Serve until the process is killed."""
    bed = Bed(folder)
    bed.record()
    authority = await new_authority()
    leaf = await new_leaf(authority, Subject("stromboli-operator", ("127.0.0.1",), client=False))
    context = contexts.server(leaf, "", required=False)
    listener = Listener(lambda: context, Limits(most=256, idle=10.0))
    app = web.Application(middlewares=[listener.middleware, errors_as_status])
    LogRoutes(bed.outputs).add_to(app.router)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    assert runner.server is not None
    async with bound("127.0.0.1", 0) as server, listener.accepting(server, runner.server):
        (folder / "ca.pem").write_text(authority.certificate)
        (folder / "address.new").write_text(f"{server.getsockname()[1]} {bed.out()}")
        (folder / "address.new").replace(folder / "address")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
