"""Bounds on documents that somebody else wrote: nesting, size, number of values. Pure.

Every parser of JSON and YAML that Python has is recursive, and so is most of what is done with what it returns. So a
document is measured first, by loops whose stack does not grow, and parsed only within its bounds. What is measured
is never less than what the parser would reach: it reads as far as a document is well-formed, and up to there both
see the same.
"""

from __future__ import annotations

import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from stromboli.errors import OutOfBounds


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a document may be. A value is a scalar, a list or a mapping; `size` counts bytes of UTF-8."""

    depth: int
    size: int
    values: int

    def too_deep(self) -> OutOfBounds:
        return OutOfBounds(f"is nested too deeply: at most {self.depth} levels")

    def too_large(self) -> OutOfBounds:
        return OutOfBounds(f"is too large: at most {self.size} bytes")

    def too_many(self) -> OutOfBounds:
        return OutOfBounds(f"has too many values: at most {self.values}")


_MIB = 1024 * 1024
# What a person writes into a spec, a file of settings, credentials.
DOCUMENT = Bounds(depth=64, size=4 * _MIB, values=50_000)
# What a program answers that the operator asked: Podman, a registry, npm, the read API, the CLI. A listing may be long.
ANSWER = Bounds(depth=128, size=32 * _MIB, values=1_000_000)
# Objects of the API server are cut off below this depth: deeper than any document of theirs may be, so that one that
# was cut is still found to be too deep; and far from where recursive code fails.
OBJECT_DEPTH = 128

_BLOCK = 256 * 1024  # of what is measured at a time: so much memory is used, times a small number
_OPENING, _CLOSING = b"[{", b"]}"
_BRACKETS = _OPENING + _CLOSING
_OTHERS = bytes(c for c in range(256) if c not in _BRACKETS)
_STEPS = bytes(1 if c in _OPENING else 0xFF if c in _CLOSING else 0 for c in range(256))  # +1 and -1, as array's "b"
_WITHOUT_BRACKETS = bytes(ord("_") if c in _BRACKETS else c for c in range(256))
_BRACKET = re.compile(rb"[\[\]{}]")


def json_document(document: bytes | str, bounds: Bounds, *, constant: Callable[[str], object] | None = None) -> Any:
    """What the JSON says; bytes are UTF-8, with what is none of it replaced. `constant` gets NaN and the infinities.

    Raises OutOfBounds, and ValueError for what is no JSON.
    """
    data = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document
    measure_json(data, bounds)
    text = document if isinstance(document, str) else document.decode("utf-8", "replace")
    return json.loads(text, parse_constant=constant)


def yaml_document(document: bytes | str, bounds: Bounds) -> Any:
    """What the YAML says, whose aliases count as what they stand for. Raises OutOfBounds, ValueError for no YAML."""
    data = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document
    measure_yaml(data, bounds)
    try:
        return yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as e:  # the last three for scalars such as !!int ""
        raise ValueError(str(e)) from e


def check(value: Any, bounds: Bounds) -> None:
    """Raise OutOfBounds for a value, parsed already, that is too deep or of too many values. Its size is not judged."""
    count, level = 0, [value]
    for depth in itertools.count():
        if depth >= bounds.depth and any(isinstance(each, Mapping | list | tuple) for each in level):
            raise bounds.too_deep()
        count += len(level)
        if count > bounds.values:
            raise bounds.too_many()
        if not (level := [inner for outer in level for inner in _inside(outer)]):
            return


def measure_json(data: bytes, bounds: Bounds) -> None:
    """Raise OutOfBounds for JSON that is larger than that, in time that is proportional to its size."""
    if len(data) > bounds.size:
        raise bounds.too_large()
    depth, values = 0, 1
    for piece in _outside_strings(data):
        steps = array("b", piece.translate(_STEPS, _OTHERS))
        if depth + max(itertools.accumulate(steps), default=0) > bounds.depth:
            raise bounds.too_deep()
        depth += sum(steps)
        # Each value but the first of a list or an object has a comma before it, and each list or object may have one.
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > bounds.values:
            raise bounds.too_many()


def measure_yaml(data: bytes, bounds: Bounds) -> None:
    """Raise OutOfBounds for YAML that is larger than that, ValueError for what is no YAML."""
    if len(data) > bounds.size:
        raise bounds.too_large()
    try:
        _measure_events(data.decode("utf-8"), bounds)
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from e


def json_object(data: bytes) -> Any:
    """An answer of the API server, cut. Raises ValueError for what is no JSON."""
    return json.loads(cut_json(data))


def cut_json(data: bytes, depth: int = OBJECT_DEPTH, *, spare: int = 0) -> bytes:
    """The JSON with null in place of each list or object that is nested deeper; the rest stays byte by byte.

    Those of at most `spare` bytes stay as well.
    """
    if data.count(b"[") + data.count(b"{") <= depth or not _is_deeper(data, depth):
        return data
    level, start, end = 0, 0, 0
    kept: list[bytes] = []
    for at, opens in _brackets(data):
        if opens:
            level += 1
            if level == depth + 1:
                start = at
        else:
            if level == depth + 1 and at + 1 - start > spare:
                kept += (data[end:start], b"null")
                end = at + 1
            level -= 1
    return b"".join((*kept, data[end:])) if kept else data


def _is_deeper(data: bytes, depth: int) -> bool:
    try:
        measure_json(data, Bounds(depth, len(data), len(data) + 1))
    except OutOfBounds:
        return True
    return False


def _outside_strings(data: bytes) -> Iterator[bytes]:
    """What stands outside of its strings, in pieces."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = False
    for start in range(0, len(plain), _BLOCK):
        parts = plain[start : start + _BLOCK].split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0


def _brackets(data: bytes) -> Iterator[tuple[int, bool]]:
    """Where each bracket outside of its strings is, and whether it opens."""
    plain = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    inside = False
    for start in range(0, len(plain), _BLOCK):
        parts = plain[start : start + _BLOCK].split(b'"')
        parts[not inside :: 2] = [part.translate(_WITHOUT_BRACKETS) for part in parts[not inside :: 2]]
        inside ^= len(parts) % 2 == 0
        for bracket in _BRACKET.finditer(b'"'.join(parts)):
            yield start + bracket.start(), bracket[0] in (b"[", b"{")


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value


def _measure_events(text: str, bounds: Bounds) -> None:
    """Go through the events of the parser, which is no recursive one; composing and constructing are."""
    known: dict[str, int] = {}  # the values that an anchor stands for
    opened: list[tuple[str | None, int]] = []  # the anchor of each collection, and the values before it
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case yaml.AliasEvent():
                # One inside what it stands for has no end; the parser reports one that stands for nothing.
                values += known.get(event.anchor or "", 1)
                if any(anchor == event.anchor for anchor, _ in opened):
                    raise OutOfBounds("has an alias inside of what it stands for")
            case yaml.ScalarEvent():
                values += 1
                if event.anchor is not None:
                    known[event.anchor] = 1
            case yaml.CollectionStartEvent():
                opened.append((event.anchor, values))
                values += 1
                if len(opened) > bounds.depth:
                    raise bounds.too_deep()
            case yaml.CollectionEndEvent():
                anchor, before = opened.pop()
                if anchor is not None:
                    known[anchor] = values - before
        if values > bounds.values:
            raise bounds.too_many()
