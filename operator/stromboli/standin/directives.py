"""Directives in a prompt that control the stand-in: `NAME{argument}` anywhere in the text. Pure.

    BASH{cmd}        one call of the Bash tool, then the tool's output as the answer
    LOOP{cmd}        calls of the Bash tool without end: for turn and budget limits, timeouts, kills
    SLEEP{seconds}   wait before answering
    STATUS{code}     an API error with that HTTP status; STATUS{529,opus} only for models with "opus" in their name
    RETRYAFTER{s}    with STATUS: the API's header that says to come back after that many seconds
    LIMIT{seconds}   a plan's usage limit, as the API reports it to a subscription; it ends after that many seconds
    EMPTY{}          an answer without any content
    CUTSTREAM{n}     the connection is closed after n events of the answer, and at once if it is not streamed
    SLOWSTREAM{n}    n pieces of text, 0.2 s apart, before the answer
    ECHO{text}       exactly this text as the answer
    JSON{...}        this object as the structured output; the directive's braces are those of the object

Braces inside an argument may be nested if they are balanced. A directive with an invalid argument (`SLEEP{soon}`) is
ignored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of one prompt; absent ones are None, zero or empty. `sleep` is in seconds."""

    bash: str | None = None
    loop: str | None = None
    sleep: float = 0.0
    status: int | None = None
    status_model: str = ""
    retry_after: float | None = None
    limit: float | None = None
    empty: bool = False
    cut_after: int | None = None
    slow_pieces: int = 0
    echo: str | None = None
    json: dict[str, Any] | None = None


def parse(text: str) -> Directives:
    """Parse the directives in a prompt; the first of each name counts."""
    status, status_model = _status(text)
    return Directives(
        bash=_argument(text, "BASH"),
        loop=_argument(text, "LOOP"),
        sleep=_number(text, "SLEEP") or 0.0,
        status=status,
        status_model=status_model,
        retry_after=_number(text, "RETRYAFTER"),
        limit=_number(text, "LIMIT"),
        empty=_after(text, "EMPTY") is not None,
        cut_after=None if (pieces := _number(text, "CUTSTREAM")) is None else int(pieces),
        slow_pieces=int(_number(text, "SLOWSTREAM") or 0),
        echo=_argument(text, "ECHO"),
        json=_object(text),
    )


def _argument(text: str, name: str) -> str | None:
    start = _after(text, name)
    if start is None:
        return None
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None


def _after(text: str, name: str) -> int | None:
    found = re.search(rf"(?<![A-Za-z_]){name}\{{", text)
    return found.end() if found else None


def _number(text: str, name: str) -> float | None:
    argument = _argument(text, name)
    return float(argument) if argument is not None and _NUMBER.fullmatch(argument) else None


def _status(text: str) -> tuple[int | None, str]:
    code, _, model = (_argument(text, "STATUS") or "").partition(",")
    return (int(code), model.strip()) if _ERROR_STATUS.fullmatch(code) else (None, "")


def _object(text: str) -> dict[str, Any] | None:
    start = _after(text, "JSON")
    if start is None:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start - 1)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
