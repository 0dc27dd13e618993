"""Server-sent events: how they are written, and kept coming.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

MEDIA = "text/event-stream"
BEAT = 15.0  # seconds without an event after which a comment is sent: proxies end what is silent
_AHEAD = 64  # events that are made before they are sent
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


def answer(events: AsyncGenerator[bytes, None], comment: str) -> StreamingResponse:
    """These events; the comment comes whenever there was none for a while."""
    return StreamingResponse(_with_beats(events, f": {comment}\n\n".encode()), media_type=MEDIA, headers=_HEADERS)


def event(fields: Mapping[str, str], data: Any = None) -> bytes:
    """One event, with a JSON document."""
    written = "".join(f"{name}: {value}\n" for name, value in fields.items())
    if data is not None:
        written += f"data: {json.dumps(data, ensure_ascii=False)}\n"
    return f"{written}\n".encode("utf-8", "replace")


async def _with_beats(events: AsyncGenerator[bytes, None], comment: bytes) -> AsyncGenerator[bytes, None]:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def read() -> None:
        async with aclosing(events) as found:
            async for each in found:
                await queue.put(each)
        await queue.put(None)

    reading = asyncio.ensure_future(read())
    try:
        while True:
            try:
                each = await asyncio.wait_for(queue.get(), BEAT)
            except TimeoutError:
                each = comment
            if each is None:
                break
            yield each
            if reading.done() and queue.empty():
                reading.result()
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
