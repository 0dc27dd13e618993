"""`httpclient.Http` without a server: every call is given to a function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from stromboli.httpclient import Answer

Respond = Callable[[Mapping[str, str]], tuple[int, bytes]]  # of the call's headers: status and body


class FakeHttp:
    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **_: Any
    ) -> AsyncIterator[Answer]:
        status, body = self._respond(headers or {})
        yield Answer(status, {}, _once(body))

    async def close(self) -> None:
        return


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
