"""`GET /run/stream`: a request to run in a query string, for clients that can only GET. Pure.

Each field is a parameter under its own name, wherever it is in a body: `prompt`, `session_id`, `image`. A list is a
parameter that is repeated. Objects cannot be written in a query.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stromboli.httpapi.errors import Refusal, invalid
from stromboli.httpapi.shapes.base import shown, validated
from stromboli.httpapi.shapes.run import ClaudeOptions, PodmanOptions, RunRequest, checked

_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}
_SCHEMAS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    str | None: {"type": "string"},
    list[str] | None: {"type": "array", "items": {"type": "string"}},
    bool | None: {"type": "boolean"},
    int | None: {"type": "integer"},
    float | None: {"type": "number"},
}
_NOT_HERE = ("webhook_url",)
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field that can be written in a query: its object in a body, empty for the top, and its name there."""

    inside: str
    name: str
    field: FieldInfo

    @property
    def schema(self) -> dict[str, Any]:
        return _SCHEMAS[self.field.annotation]

    def read(self, texts: list[str]) -> object:
        """Its value in a body; a text that is none is left for the shape to refuse."""
        kind = self.schema["type"]
        if kind == "array":
            return texts
        if len(texts) > 1:
            raise invalid(self.name, "is given twice; keep one")
        text = texts[0]
        match kind:
            case "boolean":
                return _FLAGS.get(text.lower(), text)
            case "integer" | "number":
                return _number(text)
            case _:
                return text


def _of(shape: type[BaseModel], inside: str = "") -> dict[str, Parameter]:
    return {
        name: Parameter(inside, name, field)
        for own, field in shape.model_fields.items()
        if (name := field.alias or own) not in _NOT_HERE and field.annotation in _SCHEMAS
    }


PARAMETERS = {**_of(RunRequest), **_of(ClaudeOptions, "claude"), **_of(PodmanOptions, "podman")}
_POST_ONLY = {
    field.alias or name
    for shape in (ClaudeOptions, PodmanOptions)
    for name, field in shape.model_fields.items()
    if field.annotation not in _SCHEMAS
}


def parse(query: Iterable[tuple[str, str]], others: Collection[str] = ()) -> RunRequest:
    """The request in a query; `others` are parameters that belong to the call itself. Raises Refusal."""
    given: dict[str, list[str]] = {}
    for name, text in query:
        if name not in others:
            given.setdefault(name, []).append(text)
    document: dict[str, Any] = {}
    for name, texts in given.items():
        found = PARAMETERS.get(name)
        if found is None:
            raise _unknown(name, [*PARAMETERS, *others])
        inside = document.setdefault(found.inside, {}) if found.inside else document
        inside[name] = found.read(texts)
    try:
        return checked(validated(document, RunRequest))
    except Refusal as e:
        field = str(e.details.get("field", ""))
        own = field.removeprefix("claude.").removeprefix("podman.")
        raise invalid(own, e.error.removeprefix(f"{field}: ")) from e


def for_openapi() -> list[dict[str, Any]]:
    """The parameters as OpenAPI has them."""
    return [
        {
            "in": "query",
            "name": name,
            "required": found.field.is_required(),
            "description": found.field.description,
            "schema": found.schema,
        }
        for name, found in PARAMETERS.items()
    ]


def _number(text: str) -> int | float | str | None:
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _unknown(name: str, names: list[str]) -> Refusal:
    if name in _POST_ONLY:
        return invalid(name, "cannot be written in a query; send it with POST /run/stream")
    alike = difflib.get_close_matches(name.lower(), names, 1, 0.7)
    advice = f"did you mean {alike[0]}?" if alike else "take it out"
    return invalid(shown(name), f"is no parameter of this call; {advice}")
