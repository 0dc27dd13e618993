"""What the read API says of the nodes' images, on behalf of a caller. What it refuses is ApiRefused, and what is no
valid answer ApiUnreachable.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from stromboli import bounds
from stromboli.httpapi.caller import Caller
from stromboli.kube import readapi
from stromboli.kube.user import Query, Resource
from stromboli.naming import AGENTS_GROUP, VERSION

_IMAGES = Resource("images", AGENTS_GROUP, VERSION)

Document = dict[str, Any]


async def images(caller: Caller) -> list[Document]:
    """Those that the namespace may use. The operator answers within a limited time, and is asked again while it gets on
    with those that nobody has inspected before.
    """
    path = _IMAGES.path(caller.namespace)
    found = await _listed(caller, path)
    with readapi.valid(path):
        while (left := found["incomplete"]) > 0:
            found = await _listed(caller, path)
            if found["incomplete"] >= left:
                break
        return list(found["images"])


async def image(caller: Caller, name: str) -> Document:
    """What is in an image."""
    return await _document(caller, _IMAGES.path(caller.namespace, "inspect"), {"reference": name})


async def search(caller: Caller, query: str, limit: int) -> Document:
    """What the registries have."""
    return await _document(caller, _IMAGES.path(caller.namespace, "search"), {"query": query, "limit": str(limit)})


def valid() -> AbstractContextManager[None]:
    """What is read of an answer inside the block is there, and of the right type. Raises ApiUnreachable."""
    return readapi.valid(_IMAGES.path())


async def _document(caller: Caller, path: str, query: Query) -> Document:
    return await caller.cluster.document("GET", path, query)


async def _listed(caller: Caller, path: str) -> Document:
    """The last line of an answer, which lines of progress precede. It may be an error."""
    answer: Document | None = None
    async with caller.cluster.stream(path) as stream:
        async for line in stream.lines(bounds.ANSWER.size):
            with readapi.valid(path):
                answer = dict(bounds.json_document(line, bounds.ANSWER))
                if "progress" in answer:
                    answer = None
    return readapi.last(answer, path)
