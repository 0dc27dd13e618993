"""Decides the stand-in's answer to a request. Pure; encoding the answer for the wire is in `wire`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stromboli.errors import InvalidInput
from stromboli.standin import minimal
from stromboli.standin.directives import Directives, parse
from stromboli.standin.request import Request

# The tool that the CLI offers if it was given --json-schema (seen with 2.1.331); its input is the structured answer.
STRUCTURED_OUTPUT = "StructuredOutput"

_QUOTED = 200  # characters of the prompt that the default answer quotes
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Say:
    """Text that ends the turn, preceded by `slow_pieces` pieces of text that are streamed slowly.

    A text of None is an answer without content. If `cut_after` is not None, the connection is closed after so many
    events of a streamed answer, and before any other.
    """

    text: str | None
    slow_pieces: int = 0
    cut_after: int | None = None


@dataclass(frozen=True, slots=True)
class UseTool:
    """One tool call; the CLI runs it and sends another request with the result."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refuse:
    """An API error with this HTTP status; `kind` is the API's `error.type`.

    `retry_after` is in seconds. `limit` is the number of seconds until a plan's usage limit, which is the reason of the
    error, ends.
    """

    status: int
    kind: str
    message: str
    retry_after: float | None = None
    limit: float | None = None


Answer = Say | UseTool | Refuse


def decide(request: Request) -> tuple[Answer, float]:
    """The answer to a request, and the seconds to wait before sending it."""
    directives = parse(request.last_user_text)
    return _answer(request, directives), directives.sleep


def refuse(status: int, message: str) -> Refuse:
    """An API error with the `error.type` that the API uses for this status."""
    return Refuse(status, _ERRORS.get(status, "api_error"), message)


def _answer(request: Request, directives: Directives) -> Answer:
    if not request.model.startswith("claude-"):
        return refuse(404, f"model: {request.model}")
    if directives.status is not None and directives.status_model in request.model:
        said = f"the offline stand-in was asked for status {directives.status}"
        return replace(refuse(directives.status, said), retry_after=directives.retry_after)
    if directives.limit is not None:
        return replace(refuse(429, "This request would exceed your account's rate limit."), limit=directives.limit)
    if directives.empty:
        return Say(None)
    if directives.loop is not None:
        return _bash(directives.loop)
    if directives.bash is not None and request.tool_result is None:
        return _bash(directives.bash)
    return _structured(request, directives) or Say(
        _text(request, directives), directives.slow_pieces, directives.cut_after
    )


def _bash(command: str) -> UseTool:
    return UseTool("Bash", {"command": command, "description": "asked for by the prompt"})


def _structured(request: Request, directives: Directives) -> Answer | None:
    schema = next((t.schema for t in request.tools if t.name == STRUCTURED_OUTPUT), None)
    if schema is None or _already_structured(request):
        return None
    if directives.json is not None:
        return UseTool(STRUCTURED_OUTPUT, directives.json)
    try:
        return UseTool(STRUCTURED_OUTPUT, minimal.value(schema))
    except InvalidInput as e:
        return refuse(400, f"the offline stand-in: {e}")


def _already_structured(request: Request) -> bool:
    return "structured output" in (request.tool_result or "").lower()


def _text(request: Request, directives: Directives) -> str:
    if directives.echo is not None:
        return directives.echo
    if request.tool_result is not None:
        return f"The offline stand-in passes on what the tool said: {request.tool_result}"
    quoted = request.last_user_text
    quoted = quoted if len(quoted) <= _QUOTED else quoted[:_QUOTED] + "…"
    return (
        "This answer comes from Stromboli's offline stand-in for the Messages API, not from a model. "
        f"Prompts so far in this conversation: {len(request.user_texts)}. The last one was: {quoted}"
    )
