"""The stand-in's HTTP side: one aiohttp application, and the request log.

Serves `POST /v1/messages` and `POST /v1/messages/count_tokens`; everything else is 404, because with non-essential
traffic disabled the CLI needs nothing else. The answers are decided in `answer`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from stromboli.errors import InvalidInput
from stromboli.standin import answer, request, wire

_MAX_BODY = 64 * 1024 * 1024  # bytes; enough for a conversation with a prompt of several MiB
_PIECE_SECONDS = 0.2
_CREDENTIALS = ("x-api-key", "authorization")


class Log:
    """The request log: one JSON object per line, each written by a single call before the request is answered.

    It contains prompts, so only its owner can read it; it never contains the value of a credential.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, line: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")

    def close(self) -> None:
        os.close(self._fd)


class Standin:
    """The application's handlers.

    Answers are numbered from the time of its start, since a conversation may outlive the process: if an ID occurs twice
    in one, the CLI drops the later tool call.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._numbers = itertools.count(time.time_ns())

    def application(self) -> web.Application:
        """A fresh aiohttp application; the caller runs it."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        app.router.add_route("*", "/{path:.*}", self._nothing_here)
        return app

    async def _messages(self, http: web.Request) -> web.StreamResponse:
        number = next(self._numbers)
        try:
            asked = request.parse(await http.read())
        except InvalidInput as e:
            self._log.write(_line(http))
            return _error(answer.refuse(400, str(e)), number)
        self._log.write(_line(http) | _content(asked))
        reply, delay = answer.decide(asked)
        await asyncio.sleep(delay)
        if isinstance(reply, answer.Refuse):
            return _error(reply, number)
        if not asked.stream:
            if isinstance(reply, answer.Say) and reply.cut_after is not None:
                _hang_up(http)
            return web.json_response(wire.message(reply, asked.model, number), headers=_headers(number))
        return await _stream(http, reply, asked.model, number)

    async def _count_tokens(self, http: web.Request) -> web.Response:
        self._log.write(_line(http))
        return web.json_response({"input_tokens": max(1, len(await http.read()) // 4)})

    async def _nothing_here(self, http: web.Request) -> web.Response:
        self._log.write(_line(http))
        return _error(answer.refuse(404, f"the offline stand-in has no {http.path}"), next(self._numbers))


async def _stream(http: web.Request, reply: answer.Say | answer.UseTool, model: str, number: int) -> web.StreamResponse:
    slow = isinstance(reply, answer.Say) and reply.slow_pieces > 0
    cut_after = reply.cut_after if isinstance(reply, answer.Say) else None
    response = web.StreamResponse(headers=_headers(number) | {"content-type": "text/event-stream"})
    try:
        await response.prepare(http)
        for count, event in enumerate(wire.events(reply, model, number)):
            if count == cut_after:
                _hang_up(http)
                return response
            await response.write(event)
            if slow and event.startswith(b"event: content_block_delta"):
                await asyncio.sleep(_PIECE_SECONDS)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the CLI was killed in the middle of a response, as some tests do on purpose
    return response


def _hang_up(http: web.Request) -> None:
    """Close the connection in the middle of an answer."""
    if http.transport is not None:
        http.transport.close()


def _error(refusal: answer.Refuse, number: int) -> web.Response:
    headers = _headers(number) | wire.error_headers(refusal, time.time())
    body = wire.error(refusal, headers["request-id"])
    return web.Response(status=refusal.status, body=body, content_type="application/json", headers=headers)


def _headers(number: int) -> dict[str, str]:
    return {"request-id": f"req_standin_{number:08d}"}


def _line(http: web.Request) -> dict[str, Any]:
    return {
        "time": time.time(),
        "method": http.method,
        "path": http.path_qs,
        "credentials": [name for name in _CREDENTIALS if name in http.headers],
        "session": http.headers.get("x-claude-code-session-id"),
        "betas": [b for b in http.headers.get("anthropic-beta", "").split(",") if b],
    }


def _content(asked: request.Request) -> dict[str, Any]:
    return {
        "model": asked.model,
        "effort": asked.effort,
        "messages": asked.messages,
        "last_user_text": asked.last_user_text,
        "user_texts": list(asked.user_texts),
        "tool_result": asked.tool_result,
        "system": asked.system,
        "tools": [tool.name for tool in asked.tools],
    }
