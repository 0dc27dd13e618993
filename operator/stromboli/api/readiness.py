"""The read API's route about the operator itself, for the gateway alone: no path of the API leads here.

GET /readyz    {"problems": ["podman", …]}: the names of the checks that fail
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from stromboli.api.answers import json_answer

READYZ = "/readyz"


class ReadinessRoute:
    """Serves what is known. `problems` are as `NAME: sentence`, of which the sentence may have paths of the node."""

    def __init__(self, problems: Callable[[], Sequence[str]]) -> None:
        self._problems = problems

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(READYZ, self._readyz, allow_head=False)

    async def _readyz(self, request: web.Request) -> web.Response:
        return json_answer(200, {"problems": [problem.partition(":")[0] for problem in self._problems()]})
