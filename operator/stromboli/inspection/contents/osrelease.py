"""The fields of os-release(5): assignments in the syntax of a shell, one a line, without expansions."""

from __future__ import annotations

import re

LIMIT = 64 * 1024  # bytes; real ones have a few hundred
_MOST = 100  # fields

_ASSIGNMENT = re.compile(
    r"""^([A-Z][A-Z0-9_]{0,63})=(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([^\s"'`$\\]*))[ \t]*\r?$""", re.MULTILINE
)
_ESCAPED = re.compile(r"\\(.)")


def parse(data: bytes) -> dict[str, str]:
    """Lines that are no such assignment are skipped; of two assignments of one name the last counts."""
    text = data[:LIMIT].decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for count, match in enumerate(_ASSIGNMENT.finditer(text)):
        if count == _MOST:
            break
        name, doubled, single, bare = match.groups()
        fields[name] = _ESCAPED.sub(r"\1", doubled) if doubled is not None else single or bare or ""
    return fields
