"""Turns pydantic's errors into one sentence that names the field. Pure."""

from __future__ import annotations

from pydantic import ValidationError

_BRANCHES = frozenset({"int", "str", "dict", "list"})  # members of a union that pydantic tried
_SHOWN = 10  # parts of a path
_WORDS = {"recursion_depth_exceeded": "is nested too deeply"}


def sentence(error: ValidationError, root: str = "spec") -> str:
    """The first error, as `spec.claude.maxTurns: Input should be …`; says how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    path = root
    for part in first["loc"][:_SHOWN]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in _BRANCHES and "[" not in part and not part.endswith(")"):
            path += f".{part}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{path}: {_WORDS.get(first['type']) or first['msg'].removeprefix('Value error, ')}{more}"
