"""A request's body, read up to a limit; and when its client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from stromboli.httpapi.errors import Refusal

T = TypeVar("T")

PATIENCE = 60.0  # seconds for a whole body
SMALL = 64 * 1024  # bytes for which there is always room
ROOM = 64 * 1024 * 1024  # bytes of all bodies that are being read: whoever sends them is not known yet
_CLOSE = {"Connection": "close"}


class Room:
    """How many bytes of bodies are being read."""

    def __init__(self) -> None:
        self.taken = 0


async def read(request: Request) -> bytes:
    """The whole body. Raises Refusal: 413 if it is longer than the setting allows, 400 if it does not come to its end,
    503 if there are too many others.
    """
    limit: int = request.app.state.body_limit
    room: Room = request.app.state.bodies
    pieces, size = [], 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for piece in request.stream():
                pieces.append(piece)
                size += len(piece)
                room.taken += len(piece)
                if size > limit:
                    raise Refusal(413, f"the body is longer than {limit} bytes", headers=_CLOSE)
                if size > SMALL and room.taken > ROOM:
                    raise Refusal(503, "too many others are sending requests; try again", headers=_CLOSE)
    except TimeoutError as late:
        raise Refusal(400, f"the body has not come whole within {PATIENCE:.0f} s", headers=_CLOSE) from late
    finally:
        room.taken -= size
    return b"".join(pieces)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work; None, and the work is cancelled, if the client hangs up before. The request's body has to
    be read before.
    """
    gone, working = asyncio.ensure_future(_gone(request)), asyncio.ensure_future(work)
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (gone, working):
            task.cancel()
        await asyncio.gather(gone, working, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Returns once the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
