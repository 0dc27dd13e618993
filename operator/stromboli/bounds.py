"""Bounds on untrusted documents: nesting depth, size, number of values. Pure.

Every JSON and YAML parser in Python is recursive, and so is most code that processes its result. So a document is first
measured, by loops that use constant stack, and parsed only if it is within bounds. The measurement never counts less
than the parser would reach: both read a document only as far as it is well-formed, and up to that point they see the
same values.

YAML is read by libyaml, both times. PyYAML's own scanner walks all open collections for each token, and takes 6 s for
a megabyte of text in one scalar. What takes time that is not proportional to the size, in libyaml or in PyYAML's
constructors, is refused: many directives, and long numbers.
"""

from __future__ import annotations

import io
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
    """The limits of one kind of document. A value is a scalar, a list or a mapping; `size` is in bytes of UTF-8."""

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
# Documents written by users: a field of a spec, a settings file, credentials.
DOCUMENT = Bounds(depth=64, size=4 * _MIB, values=50_000)
# Responses to the operator's own requests: Podman, a registry, npm, the read API, the CLI. A listing may be long.
ANSWER = Bounds(depth=128, size=32 * _MIB, values=1_000_000)
# Objects from the API server are truncated below this depth. It is deeper than any document inside them may be, so a
# truncated one still fails its own depth check, and well short of where recursive code fails.
OBJECT_DEPTH = 128

# libyaml compares each %TAG directive with all others of its document.
MAX_DIRECTIVES = 16
# Characters of a number in YAML. In base 60 (`1:30:00`), PyYAML computes with one that grows by each colon; and longer
# integers have thousands of multiples of 2**61 - 1, which as keys of a mapping all have the same hash.
MAX_NUMBER = 20

_BLOCK = 256 * 1024  # bytes measured at a time; memory use is a small multiple of this
_OPENING, _CLOSING = b"[{", b"]}"
_BRACKETS = _OPENING + _CLOSING
_OTHERS = bytes(c for c in range(256) if c not in _BRACKETS)
_STEPS = bytes(1 if c in _OPENING else 0xFF if c in _CLOSING else 0 for c in range(256))  # +1 and -1, as array's "b"
_WITHOUT_BRACKETS = bytes(ord("_") if c in _BRACKETS else c for c in range(256))
_BRACKET = re.compile(rb"[\[\]{}]")
_DIRECTIVE = re.compile(rb"(?:^|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9])%")  # after each of libyaml's line breaks
_NUMBER = re.compile(r"[-+]?(?:[0-9_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")
_NESTED = "exceeded maximum nesting depth"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def json_document(
    document: bytes | str,
    bounds: Bounds,
    *,
    constant: Callable[[str], object] | None = None,
    real: Callable[[str], object] | None = None,
    pairs: Callable[[list[tuple[str, Any]]], object] | None = None,
) -> Any:
    """Parse JSON. Bytes are decoded as UTF-8, invalid sequences replaced. What the result has for them is made by
    `constant` of NaN and infinities, by `real` of numbers with a fraction or an exponent, by `pairs` of objects.

    Raises OutOfBounds, and ValueError if it is not JSON.
    """
    data = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document
    measure_json(data, bounds)
    text = document if isinstance(document, str) else document.decode("utf-8", "replace")
    return json.loads(text, parse_constant=constant, parse_float=real, object_pairs_hook=pairs)


def yaml_document(document: bytes | str, bounds: Bounds) -> Any:
    """Parse YAML; an alias counts as the values it stands for. Raises OutOfBounds, and ValueError if it is not YAML."""
    return _parsed_yaml(document, bounds, lambda text: yaml.load(text, Loader=yaml.CSafeLoader))


def yaml_documents(document: bytes | str, bounds: Bounds) -> list[Any]:
    """Parse YAML of several documents, which are within bounds together. Raises as `yaml_document`."""
    found: list[Any] = _parsed_yaml(document, bounds, lambda text: list(yaml.load_all(text, Loader=yaml.CSafeLoader)))
    return found


def _parsed_yaml(document: bytes | str, bounds: Bounds, parse: Callable[[str], Any]) -> Any:
    data = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document
    measure_yaml(data, bounds)
    try:
        return parse(data.decode("utf-8"))
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as e:  # the last three: scalars such as !!int ""
        raise ValueError(str(e)) from e


def check(value: Any, bounds: Bounds) -> None:
    """Raise OutOfBounds if a parsed value is too deep or has too many values. Its size is not checked."""
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
    """Raise OutOfBounds if the JSON exceeds the bounds. Takes time proportional to its size."""
    if len(data) > bounds.size:
        raise bounds.too_large()
    depth, values = 0, 1
    for piece in _outside_strings(data):
        steps = array("b", piece.translate(_STEPS, _OTHERS))
        if depth + max(itertools.accumulate(steps), default=0) > bounds.depth:
            raise bounds.too_deep()
        depth += sum(steps)
        # Each value except the first in a list or object follows a comma; each list or object may have a first value.
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > bounds.values:
            raise bounds.too_many()


def measure_yaml(data: bytes, bounds: Bounds) -> None:
    """Raise OutOfBounds if the YAML exceeds the bounds, and ValueError if it is not YAML."""
    if len(data) > bounds.size:
        raise bounds.too_large()
    if len(_DIRECTIVE.findall(data)) > MAX_DIRECTIVES:
        raise OutOfBounds(f"has too many directives: at most {MAX_DIRECTIVES}")
    try:
        _measure_events(io.StringIO(data.decode("utf-8"), newline=""), bounds)
    except yaml.MarkedYAMLError as e:
        # libyaml reads 1,024 characters ahead of a bracket's event, and goes no deeper than 1,000 levels there.
        raise bounds.too_deep() if e.problem == _NESTED else ValueError(str(e)) from e
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from e


def json_object(data: bytes) -> Any:
    """Parse a response of the API server, truncated below OBJECT_DEPTH. Raises ValueError if it is not JSON."""
    return json.loads(cut_json(data))


def cut_json(data: bytes, depth: int = OBJECT_DEPTH, *, spare: int = 0) -> bytes:
    """Replace each list or object nested deeper than `depth` by null; everything else stays byte for byte.

    Lists and objects of at most `spare` bytes stay as well.
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
    """The parts of the JSON outside string literals, in pieces."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = False
    for start in range(0, len(plain), _BLOCK):
        parts = plain[start : start + _BLOCK].split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0


def _brackets(data: bytes) -> Iterator[tuple[int, bool]]:
    """The offset of each bracket outside string literals, and whether it is an opening one."""
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


def _measure_events(text: io.StringIO, bounds: Bounds) -> None:
    """Measure by the parser's events: parsing to events is not recursive; composing and constructing nodes is.

    The text is read a block at a time, and no further than to the event that is out of bounds.
    """
    known: dict[str, int] = {}  # number of values by anchor
    opened: list[tuple[str | None, int]] = []  # each open collection's anchor, and the count before it
    values = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case yaml.AliasEvent():
                # An alias inside its own anchor is infinite. One without an anchor is an error that the parser reports.
                values += known.get(event.anchor or "", 1)
                if any(anchor == event.anchor for anchor, _ in opened):
                    raise OutOfBounds("has an alias inside its own anchor")
            case yaml.ScalarEvent():
                values += 1
                if len(event.value) > MAX_NUMBER and _is_number(event):
                    raise OutOfBounds(f"has a number of more than {MAX_NUMBER} characters")
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


def _is_number(event: yaml.ScalarEvent) -> bool:
    """Whether PyYAML makes it an integer, or a float in base 60. Any text can have the tag of one."""
    if event.tag in _NUMBER_TAGS:
        return True
    return bool(event.implicit[0]) and _NUMBER.fullmatch(event.value) is not None
