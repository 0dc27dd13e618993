"""What the calls that list something have in common: their parameters, and how the rows of a list are read.

Of a list only metadata and columns are transferred, however large the objects are, and few lists are read at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Query, Request

from stromboli import bounds
from stromboli.errors import ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.kube import rows as tables
from stromboli.kube.rows import Row
from stromboli.kube.user import Resource

MOST = 200  # entries of one answer; who asks for more gets as many
PAGE = 100  # rows that are read at a time
SMALL = 20  # the same where metadata is large: as many of the largest objects that etcd takes are one answer
AT_ONCE = 2  # lists that are read
WAIT = 10.0  # seconds for one of them to be done

Limit = Annotated[int, Query(ge=1, description=f"The most entries to answer with; {MOST} for any larger number.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="How many entries to leave out first.")]


def _line(request: Request) -> asyncio.Semaphore:
    state = request.app.state
    if not hasattr(state, "lists"):
        state.lists = asyncio.Semaphore(AT_ONCE)
    line: asyncio.Semaphore = state.lists
    return line


# For a route: who lists something waits in it.
Line = Annotated[asyncio.Semaphore, Depends(_line)]


@asynccontextmanager
async def turn(line: asyncio.Semaphore) -> AsyncIterator[None]:
    """The block is one of those AT_ONCE. Raises Refusal (503) if none of them ends soon."""
    try:
        async with asyncio.timeout(WAIT):
            await line.acquire()
    except TimeoutError as late:
        raise Refusal(503, f"{AT_ONCE} other lists are being made; try again") from late
    try:
        yield
    finally:
        line.release()


async def rows(
    caller: Caller, resource: Resource, *columns: str, fields: str = "", labels: str = ""
) -> AsyncGenerator[Row, None]:
    """All objects of a kind in the caller's namespace, with these columns of theirs."""
    size, following = PAGE, ""
    while True:
        asked = {"limit": str(size), "fieldSelector": fields, "labelSelector": labels, "continue": following}
        query = {name: value for name, value in asked.items() if value}
        content = await caller.cluster.content(resource.path(caller.namespace), query, accept=tables.ACCEPT)
        if len(content) > bounds.ANSWER.size and size > SMALL:
            size = SMALL
            continue
        try:
            page = tables.page(content, *columns)
        except ValueError as e:
            raise ApiUnreachable(f"the API server gives no valid answer: {e}") from e
        for row in page.rows:
            yield row
        if not (following := page.following):
            return
