"""Checks of free-form values: prompts and JSON documents. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic import JsonValue

from stromboli import bounds
from stromboli.errors import OutOfBounds
from stromboli.models.agentrun import MAX_PROMPT
from stromboli.plan.refusal import invalid

# One argument of a process is at most 128 KiB on Linux (MAX_ARG_STRLEN), and the schema is passed in argv.
MAX_SCHEMA = 96 * 1024
MAX_PATH = 4096


def check_prompt(prompt: str, field: str) -> None:
    """Check that a prompt can be sent. Raises Refused(InvalidSpec)."""
    if not prompt.strip():
        raise invalid(field, "is empty; write what the agent should do")
    if "\0" in prompt:
        raise invalid(field, "has a NUL character in it; take it out")
    size = len(prompt.encode("utf-8", "surrogatepass"))
    if size > MAX_PROMPT * 4:
        raise invalid(field, f"has {size} bytes; at most {MAX_PROMPT * 4} go into a prompt")


def decode_prompt(data: bytes, field: str) -> str:
    """A prompt from a ConfigMap or Secret. Raises Refused(InvalidSpec)."""
    try:
        prompt = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise invalid(field, f"is not UTF-8 (byte {e.start}); a prompt is text") from e
    check_prompt(prompt, field)
    return prompt


def is_path(value: JsonValue | None) -> TypeGuard[str]:
    """Whether a document is given as the path of a file inside the container."""
    return isinstance(value, str) and value.startswith("/")


def mapping(value: JsonValue | None, field: str, *, path: bool = False) -> Mapping[str, Any] | None:
    """A document that must be a JSON object, written as YAML or as a string; with `path`, a file's path too.

    Returns None if there is none, or if it is a path. Raises Refused(InvalidSpec).
    """
    if value is None:
        return None
    if path and is_path(value):
        _check_path(value, field)
        return None
    document: Any = _loaded(value, field) if isinstance(value, str) else _bounded(value, field)
    if not isinstance(document, dict):
        raise invalid(field, "is not an object; write keys and values")
    return document


def schema(value: JsonValue | None, field: str) -> Mapping[str, Any] | None:
    """A JSON Schema's document, whose size is limited by argv. Raises Refused(InvalidSpec)."""
    document = mapping(value, field)
    if document is not None and _size(value) > MAX_SCHEMA:
        raise invalid(field, f"is larger than {MAX_SCHEMA} bytes, which is more than the CLI can be given")
    return document


def text(value: JsonValue) -> str:
    """A document as it is passed to the CLI: a string as it is, YAML as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _loaded(written: str, field: str) -> Any:
    try:
        return bounds.json_document(written, bounds.DOCUMENT, constant=_no_constant)
    except OutOfBounds as e:
        raise invalid(field, str(e)) from e
    except ValueError as e:
        raise invalid(field, f"is a string but not JSON: {e}") from e


def _bounded(document: JsonValue, field: str) -> JsonValue:
    try:
        bounds.check(document, bounds.DOCUMENT)
    except OutOfBounds as e:
        raise invalid(field, str(e)) from e
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is JavaScript")


def _check_path(path: str, field: str) -> None:
    if "\0" in path or len(path) > MAX_PATH:
        raise invalid(field, f"is not the path of a file: at most {MAX_PATH} characters, none of them NUL")


def _size(value: JsonValue) -> int:
    """Bytes, as the CLI is given them."""
    return len(text(value).encode("utf-8", "surrogatepass"))
