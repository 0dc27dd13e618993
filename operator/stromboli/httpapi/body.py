"""A request's body, read up to a limit; and when its client hangs up."""

from __future__ import annotations

from fastapi import Request

from stromboli.httpapi.errors import Refusal


async def read(request: Request) -> bytes:
    """The whole body. Raises Refusal (413) if it is longer than the setting allows."""
    limit: int = request.app.state.body_limit
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise Refusal(413, f"the body is longer than {limit} bytes", headers={"Connection": "close"})
    return b"".join(pieces)


async def gone(request: Request) -> None:
    """Returns once the client has hung up. The request's body has to be read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
