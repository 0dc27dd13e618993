"""Structured answers by their schemas: what is valid, and how a violation is reported."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.grammar import javascript
from stromboli.plan import schema as schemas
from stromboli.plan.validity import violation


def _judged(schema: dict[str, Any], answer: Any) -> str | None:
    return violation(schemas.prepare(schema), answer)


def _of(rule: dict[str, Any], value: Any) -> str | None:
    """A property by a rule."""
    return _judged({"type": "object", "properties": {"a": rule}}, {"a": value})


VALID: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string"}, "x"),
    ({"type": "string", "nullable": True}, None),
    ({"type": "integer"}, 1.0),
    ({"type": "string", "format": "date"}, "no date"),
    ({"type": "string", "pattern": "^v[0-9]+$"}, "v12"),
    ({"type": "string", "pattern": r"^\p{Lu}"}, "whatever Python cannot express is not checked"),
    ({"type": "string", "pattern": r"a\/b"}, "xa/bx"),
    ({"type": "string", "minLength": 1, "maxLength": 1}, "🦊"),
    ({"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}, ["b", "a"]),
    ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["a", 1, 2]),
    ({"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False}, {"x-a": 1}),
    ({"type": "object", "patternProperties": {r"\p{L}": {}}, "additionalProperties": False}, {"ä": 1}),
    ({"const": {"a": [1, None]}}, {"a": [1, None]}),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
    ({"if": {"type": "string"}, "then": {"minLength": 2}}, 1),
]
INVALID: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "string"}, 1, 'at $.a it violates type: "string"'),
    ({"type": "string"}, None, 'at $.a it violates type: "string"'),
    ({"type": "integer"}, True, 'at $.a it violates type: "integer"'),
    ({"type": "string", "pattern": "^v[0-9]+$"}, "v12\n", 'at $.a it violates pattern: "^v[0-9]+$"'),
    ({"type": "string", "pattern": r"^\d$"}, "٣", 'at $.a it violates pattern: "^\\\\d$"'),
    ({"enum": ["a", "b"]}, "c", 'at $.a it violates enum: ["a", "b"]'),
    ({"type": "array", "items": {"type": "integer"}}, [1, 2, "3"], 'at $.a[2] it violates type: "integer"'),
    ({"type": "object", "required": ["b"]}, {}, 'at $.a it violates required: ["b"]'),
    ({"type": "object", "additionalProperties": False}, {"b": 1}, "at $.a.b it violates additionalProperties: false"),
    ({"type": "object", "additionalProperties": {"type": "string"}}, {"b": 1}, 'at $.a.b it violates type: "string"'),
    ({"type": "object", "patternProperties": {"^x": {"type": "string"}}}, {"xa": 1}, 'at $.a.xa it violates type: "st'),
    ({"minimum": 3}, 2, "at $.a it violates minimum: 3"),
    ({"not": {"type": "string"}}, "x", 'at $.a it violates not: {"type": "string"}'),
]


@pytest.mark.parametrize(("rule", "value"), VALID)
def test_valid(rule: dict[str, Any], value: Any) -> None:
    assert _of(rule, value) is None


@pytest.mark.parametrize(("rule", "value", "said"), INVALID)
def test_invalid(rule: dict[str, Any], value: Any, said: str) -> None:
    found = _of(rule, value)
    assert found is not None
    assert found.startswith(said)


def test_references_are_followed() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "integer"}}}
    assert _judged(schema, {"a": 1}) is None
    assert _judged(schema, {"a": "1"}) == 'at $.a it violates type: "integer"'


def test_what_is_said_has_a_bound() -> None:
    schema = {"type": "object", "additionalProperties": {"enum": ["x" * 1000]}}
    found = _judged(schema, {"k" * 5000: 1})
    assert found is not None
    assert len(found) < 400
    assert found.endswith("…")


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^a.c$", ["abc"], ["a\nc", "a\u2028c", "abc\n"]),
        (r"^\s$", ["\u00a0", "\ufeff", " "], ["\x1c"]),
        (r"^[\s]$", ["\u00a0"], ["x"]),
        (r"^\S$", ["x"], ["\u00a0"]),
        (r"^\w+$", ["abc_1"], ["ä"]),
        (r"^(?<y>\d)\k<y>$", ["11"], ["12"]),
        (r"^(a)\1$", ["aa"], ["ab"]),
        (r"^\u{1F98A}$", ["🦊"], ["x"]),
        (r"^\uD83E\uDD8A$", ["🦊"], ["x"]),
        (r"^\u00e4\x41\cJ\0$", ["äA\n\0"], ["äA"]),
        (r"^[[&~|]$", ["[", "&", "~", "|"], ["x"]),
        (r"^[a\-z]$", ["-"], ["b"]),
        (r"^[$.]$", ["$", "."], ["x"]),
        (r"^[^\d]$", ["x"], ["1"]),
        (r"(?<!a)b", ["cb", "b"], ["ab"]),
    ],
)
def test_patterns_mean_what_they_mean_in_javascript(pattern: str, matching: list[str], others: list[str]) -> None:
    found = javascript.compiled(pattern)
    assert found is not None
    assert all(found.search(text) for text in matching)
    assert not any(found.search(text) for text in others)


@pytest.mark.parametrize("pattern", [r"\p{L}", r"(?<=a+)b", r"[\S]", r"(", r"\u{110000}"])
def test_what_has_no_translation_is_not_guessed(pattern: str) -> None:
    assert javascript.compiled(pattern) is None
