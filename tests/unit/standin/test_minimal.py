"""Values made up for schemas."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.standin import minimal


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": ""}),
        ({"type": "object", "required": ["free"]}, {"free": None}),
        ({"properties": {"n": {"type": "integer"}}, "required": ["n"]}, {"n": 0}),
        ({"type": "string", "minLength": 3}, "---"),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, ""),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 5}, 5),
        ({"type": "integer", "default": 9}, 9),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["q"]}}}, "q"),
        ({"allOf": [{"type": "object", "required": ["a"]}, {"required": ["b"]}]}, {"a": None, "b": None}),
    ],
)
def test_the_least_value(schema: dict[str, Any], expected: Any) -> None:
    assert minimal.value(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[0-9]{4}$"},
        {"$ref": "https://example.com/elsewhere"},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}},
        },
        {"type": "nonsense"},
    ],
)
def test_what_cannot_be_made_up_is_said_and_not_guessed(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"JSON\{"):
        minimal.value(schema)


_LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 5)),
    st.builds(lambda n: {"type": "integer", "minimum": n}, st.integers(-9, 9)),
    st.builds(lambda n: {"type": "number", "exclusiveMinimum": n}, st.integers(-9, 9)),
    st.just({"type": "boolean"}),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(), min_size=1)),
)


def _nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.text(min_size=1), inner, max_size=4)
    return st.one_of(
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n}, inner, st.integers(0, 3)),
        st.builds(lambda f: {"type": "object", "properties": f, "required": sorted(f)}, fields),
    )


@given(st.recursive(_LEAVES, _nested, max_leaves=8))
def test_every_value_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.validate(minimal.value(schema), schema)
    assert minimal.value(schema) == minimal.value(schema)
