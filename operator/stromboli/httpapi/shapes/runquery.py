"""A request to run in a query, for clients that can only GET: the fields of RunRequest, of its `claude` and of its
`podman` that are single values or lists of strings, each by its own name. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from stromboli.httpapi.errors import invalid
from stromboli.httpapi.shapes import base
from stromboli.httpapi.shapes.run import ClaudeOptions, PodmanOptions, RunRequest, checked

_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}
_TYPES: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    list: {"type": "array", "items": {"type": "string"}},
}
_NUMBERS = {int: re.compile(r"-?[0-9]{1,15}"), float: re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")}
_ONLY_ASYNC = "webhook_url"


def _kind(annotation: Any) -> Any:
    """The type among _TYPES that a field's values have; None if they have another."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return list if get_args(annotation) == (str,) else None
    members = [member for member in get_args(annotation) if member is not NoneType]
    if len(members) == 1 and get_origin(annotation) is not dict:
        return _kind(members[0])
    return annotation if annotation in _TYPES else None


def _found() -> dict[str, tuple[tuple[str, ...], Any, FieldInfo]]:
    """The fields by their names, with the path in RunRequest and the type of each."""
    parts = ((), RunRequest), (("claude",), ClaudeOptions), (("podman",), PodmanOptions)
    return {
        field.alias or name: ((*above, field.alias or name), kind, field)
        for above, shape in parts
        for name, field in shape.model_fields.items()
        if (kind := _kind(field.annotation)) is not None and name != _ONLY_ASYNC
    }


_FIELDS = _found()


def parameters() -> list[dict[str, Any]]:
    """They in an OpenAPI document."""
    return [
        {
            "name": name,
            "in": "query",
            "required": field.is_required(),
            "description": field.description or "",
            "schema": _TYPES[kind],
        }
        for name, (_, kind, field) in _FIELDS.items()
    ]


def parse_query(given: Iterable[tuple[str, str]]) -> RunRequest:
    """The request in a query's parameters. Raises Refusal."""
    document: dict[str, Any] = {}
    for name, text in given:
        if name not in _FIELDS:
            raise invalid(base.path([name]), f"is no parameter of this call; {_advice(name)}")
        at, kind, _ = _FIELDS[name]
        into = document
        for part in at[:-1]:
            into = into.setdefault(part, {})
        if kind is list:
            into.setdefault(name, []).append(text)
        elif name in into:
            raise invalid(name, "is given twice; keep one")
        else:
            into[name] = _value(name, text, kind)
    return checked(base.validated(document, RunRequest))


def _advice(name: str) -> str:
    if meant := base.alike(name, _FIELDS):
        return f"did you mean {meant}?"
    return "POST /run/stream has all fields in its body"


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in _FLAGS:
            raise invalid(name, "is neither true nor false; write one of them")
        return _FLAGS[text.lower()]
    if kind in (int, float):
        if not _NUMBERS[kind].fullmatch(text):
            raise invalid(name, "is not a number; write 5 for example")
        return kind(text)
    return text
