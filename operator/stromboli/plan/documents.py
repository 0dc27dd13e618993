"""Checks of free-form values: prompts, JSON documents, names of variables that load code. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from stromboli.models.agentrun import MAX_PROMPT
from stromboli.plan.refusal import invalid

# Variables by which the loader, a shell, or the CLI's own runtime run somebody else's code (ld.so(8), bash(1)).
_LOADERS = frozenset({"BASH_ENV", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", "NODE_OPTIONS", "BUN_OPTIONS"})
# One argument of a process is at most 128 KiB on Linux (MAX_ARG_STRLEN), and the schema goes by argv.
MAX_SCHEMA = 96 * 1024


def loads_code(name: str) -> bool:
    """Whether a variable of that name decides which code a process loads."""
    return name.startswith("LD_") or name in _LOADERS


def check_prompt(prompt: str, field: str) -> None:
    """A prompt has to have something in it that can be sent. Raises Refused(InvalidSpec)."""
    if not prompt.strip():
        raise invalid(field, "is empty; write what the agent should do")
    if "\0" in prompt:
        raise invalid(field, "has a NUL character in it; take it out")
    size = len(prompt.encode("utf-8", "surrogatepass"))
    if size > MAX_PROMPT * 4:
        raise invalid(field, f"has {size} bytes; at most {MAX_PROMPT * 4} go into a prompt")


def decode_prompt(data: bytes, field: str) -> str:
    """A prompt out of a ConfigMap or Secret. Raises Refused(InvalidSpec)."""
    try:
        prompt = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise invalid(field, f"is not UTF-8 (byte {e.start}); a prompt is text") from e
    check_prompt(prompt, field)
    return prompt


def mapping(value: JsonValue | None, field: str, *, path: bool = False) -> Mapping[str, Any] | None:
    """A document that must be a JSON object, written as YAML or as a string; with `path`, a file's path too.

    Returns None where there is none, or where it is a path. Raises Refused(InvalidSpec).
    """
    if value is None or (path and isinstance(value, str) and value.startswith("/")):
        return None
    document: Any = value
    if isinstance(value, str):
        try:
            document = json.loads(value)
        except (ValueError, RecursionError) as e:
            raise invalid(field, f"is a string but not JSON: {e}") from e
    if not isinstance(document, dict):
        raise invalid(field, "is not an object; write keys and values")
    if field.endswith("jsonSchema") and len(json.dumps(document)) > MAX_SCHEMA:
        raise invalid(field, f"is larger than {MAX_SCHEMA} bytes, which is more than the CLI can be given")
    return document
