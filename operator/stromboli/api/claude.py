"""The read API's route about Claude's credentials: whether there are any, and nothing of them.

    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/claudestatus

What is found is in `observe.claude`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from stromboli.api.answers import json_answer
from stromboli.api.errors import Declined
from stromboli.naming import AGENTS_API, is_namespace
from stromboli.observe.claude import ClaudeStatus

SECONDS = 20.0
_ROUTE = f"{AGENTS_API}/namespaces/{{namespace}}/claudestatus"

# Of a namespace. Raises Refused, ClusterUnavailable.
Find = Callable[[str], Awaitable[ClaudeStatus]]


class ClaudeRoutes:
    """Serves what is found."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(_ROUTE, self._status, allow_head=False)

    async def _status(self, request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        if not is_namespace(namespace):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._find(namespace)
        except TimeoutError as late:
            raise Declined(503, f"looking for the credentials took more than {SECONDS:.0f} s; try again") from late
        return json_answer(200, asdict(found))
