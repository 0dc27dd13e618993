"""Measuring documents, and cutting them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stromboli import bounds
from stromboli.bounds import Bounds
from stromboli.errors import OutOfBounds

SMALL = Bounds(depth=3, size=100, values=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{},é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='"[{\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inner))


@pytest.mark.parametrize(
    "text", ["1", '"[[[[["', "[[[1]]]", '{"a": [{}, {}]}', '{"[[[[": "\\"[[[["}', "[1,2,3,4,5,6,7,8]"]
)
def test_within(text: str) -> None:
    expected = json.loads(text)
    assert bounds.json_document(text, SMALL) == expected
    assert bounds.json_document(text.encode(), SMALL) == expected
    assert bounds.yaml_document(text, SMALL) == expected
    bounds.check(expected, SMALL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[[[1]]]]", "is nested too deeply: at most 3 levels"),
        ('{"a": {"b": {"c": {}}}}', "is nested too deeply: at most 3 levels"),
        ("[1,2,3,4,5,6,7,8,9,0]", "has too many values: at most 10"),
        (f'"{"x" * 99}"', "is too large: at most 100 bytes"),
    ],
)
def test_beyond(text: str, said: str) -> None:
    for call in (bounds.json_document, bounds.yaml_document):
        with pytest.raises(OutOfBounds) as found:
            call(text, SMALL)
        assert str(found.value) == said
    if "large" not in said:
        with pytest.raises(OutOfBounds) as found:
            bounds.check(json.loads(text), SMALL)
        assert str(found.value) == said


@given(JSON)
def test_what_is_measured_is_what_is_there(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        there = depth(value)
        bounds.measure_json(text.encode(), Bounds(there, 10_000, 2 * count(value) + 1))
        if there:
            with pytest.raises(OutOfBounds, match="too deeply"):
                bounds.measure_json(text.encode(), Bounds(there - 1, 10_000, 10_000))
            with pytest.raises(OutOfBounds, match="too deeply"):
                bounds.check(value, Bounds(there - 1, 10_000, 10_000))
        bounds.check(value, Bounds(there, 10_000, count(value)))
        with pytest.raises(OutOfBounds, match="too many values"):
            bounds.measure_json(text.encode(), Bounds(there, 10_000, count(value) // 2 - 1))


def test_a_string_over_the_edge_of_a_block() -> None:
    """Which is 256 KiB: brackets in it are none, those after it are some."""
    for size in range(bounds._BLOCK - 3, bounds._BLOCK + 3):
        text = f'["{"x" * size}[[[[\\"[[[[", []]'
        bounds.measure_json(text.encode(), Bounds(2, 10**6, 10))
        with pytest.raises(OutOfBounds, match="too deeply"):
            bounds.measure_json(text.encode(), Bounds(1, 10**6, 10))


@pytest.mark.parametrize(
    "document", [b'{"a": 1', b"\xff", b"", b"nul", b'"\x00"', "[1]".encode("utf-16"), b"]" * 9 + b"["]
)
def test_no_json(document: bytes) -> None:
    with pytest.raises(ValueError):
        bounds.json_document(document, SMALL)


@pytest.mark.parametrize(
    "document", [b"a: [", b"\xff", b"a: *x", b'!!int ""', b"a: 2001-99-99", b"!!bool x", b"---\n---\n"]
)
def test_no_yaml(document: bytes) -> None:
    with pytest.raises(ValueError):
        bounds.yaml_document(document, SMALL)


def test_an_alias_counts_as_what_it_stands_for() -> None:
    assert bounds.yaml_document("a: &x [1, 2]\nb: *x", SMALL) == {"a": [1, 2], "b": [1, 2]}
    nine = {n: ", ".join([f"*a{n - 1}"] * 9) for n in range(1, 9)}
    laughs = "a0: &a0 ha\n" + "".join(f"a{n}: &a{n} [{those}]\n" for n, those in nine.items())
    with pytest.raises(OutOfBounds, match="too many values"):
        bounds.yaml_document(laughs, bounds.DOCUMENT)
    merged = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)
    )
    with pytest.raises(OutOfBounds, match="too many values"):
        bounds.yaml_document(merged, bounds.DOCUMENT)
    with pytest.raises(OutOfBounds, match="an alias inside its own anchor"):
        bounds.yaml_document("&a [*a]", SMALL)


SIZE = 1024 * 1024
MANY = bounds.DOCUMENT.values
# What a parser of YAML walks over more than once: 1 MiB of each, and what is said of it.
HOSTILE = {
    "brackets": ("[" * SIZE, "too deeply"),
    "braces": ("{" * SIZE, "too deeply"),
    "dashes": ("- " * (SIZE // 2), "too deeply"),
    "question marks": ("? " * (SIZE // 2), "too deeply"),
    "keys in keys": ("[? " * (SIZE // 3), "too deeply"),
    "keys on many levels": ("{a: " * 60 + "{b: c}," * (SIZE // 7), "too many values"),
    "values on many levels": ("[" * 60 + "a," * (SIZE // 2), "too many values"),
    "documents": ("---\n" * (SIZE // 4), "too many values"),
    "anchors": ("".join(f"- &a{n} x\n" for n in range(SIZE // 12)), "too many values"),
    "merges": ("a: &a {b: c}\n" + "<<: *a\n" * (SIZE // 7), "too many values"),
    "tag directives": ("".join(f"%TAG !a{n}! b\n" for n in range(SIZE // 16)) + "--- x", "too many directives"),
    "directives after carriage returns": ("%A\r" * (SIZE // 3), "too many directives"),
    "directives after next lines": ("%A\x85" * (SIZE // 4), "too many directives"),
    "directives after line separators": ("%A\u2028" * (SIZE // 5), "too many directives"),
    "directives after paragraph separators": ("%A\u2029" * (SIZE // 5), "too many directives"),
    "other directives": ("%A\n" * (SIZE // 3), "too many directives"),
    "an integer in base 60": ("1" + ":1" * (SIZE // 2), "a number of more than"),
    "a float in base 60": ("1" + ":1" * (SIZE // 2) + ".5", "a number of more than"),
    "text with the tag of a number": ("!!int '" + "9:" * (SIZE // 2) + "'", "a number of more than"),
    "digits": ("1" * SIZE, "a number of more than"),
    "keys with one hash": (
        "{" + "".join(f"{n * (2**61 - 1)}: 1, " for n in range(100, MANY // 3)) + "}",
        "a number of more than",
    ),
}


class Counted(io.StringIO):
    """A text that counts how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> str:
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_yaml_is_refused_with_bounded_work(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By libyaml, and by no more events than values may be there; nothing of it is constructed."""
    text, said = HOSTILE[what]
    parse, events = yaml.parse, 0

    def counted(stream: Any, Loader: type) -> Iterator[yaml.Event]:
        nonlocal events
        assert Loader is yaml.CSafeLoader
        for event in parse(stream, Loader):
            events += 1
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    monkeypatch.setattr(yaml, "load", pytest.fail)
    with pytest.raises(OutOfBounds, match=said):
        bounds.yaml_document(text, bounds.DOCUMENT)
    assert events <= (10 + 2 * bounds.DOCUMENT.depth if "deeply" in said else 10 + 3 * MANY)


@pytest.mark.parametrize("what", [what for what, (_, said) in HOSTILE.items() if "deeply" in said])
def test_what_is_too_deep_is_refused_before_it_is_read(what: str) -> None:
    text = Counted(HOSTILE[what][0])
    with pytest.raises((OutOfBounds, yaml.YAMLError), match=r"too deeply|maximum nesting depth"):
        bounds._measure_events(text, bounds.DOCUMENT)
    assert text.taken < SIZE / 10


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("12345678901234567890", 12345678901234567890),
        ("3.1415926535897932384626", 3.141592653589793),
        ("1:30:00", 5400),
        ("'123456789012345678901'", "123456789012345678901"),
        ("2001:db8:1234:5678:1234:5678", "2001:db8:1234:5678:1234:5678"),
        ("deadbeefdeadbeefdeadbeef", "deadbeefdeadbeefdeadbeef"),
        ("2026-01-31T12:00:00.000000Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_numbers_and_what_looks_like_them_are_read(number: str, value: object) -> None:
    assert bounds.yaml_document(f"a: {number}", SMALL) == {"a": value}


@given(JSON, st.integers(min_value=0, max_value=6))
def test_cutting(value: Any, at: int) -> None:
    def cut(part: Any, left: int) -> Any:
        if isinstance(part, dict):
            return {key: cut(inner, left - 1) for key, inner in part.items()} if left > 0 else None
        if isinstance(part, list):
            return [cut(inner, left - 1) for inner in part] if left > 0 else None
        return part

    text = json.dumps(value)
    done = bounds.cut_json(text.encode(), at)
    assert json.loads(done) == cut(value, at)
    if depth(value) <= at:
        assert done == text.encode()


def test_a_run_that_was_cut_is_still_too_deep() -> None:
    """Or it would run with half of its document."""
    assert bounds.DOCUMENT.depth + 20 < bounds.OBJECT_DEPTH  # what stands around a document in a list of runs
