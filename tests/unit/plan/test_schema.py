"""JSON Schemas as the Claude CLI takes them: what it does with each was seen (2.1.332)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.bounds import DOCUMENT
from stromboli.errors import UnusableSchema
from stromboli.plan.schema import DRAFT_07, prepare

LATEST = "https://json-schema.org/draft/2020-12/schema"
OK = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def of(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": keywords}}


TAKEN: list[dict[str, Any]] = [
    OK,
    of(type="string", pattern=r"^\p{L}+$"),
    of(type="string", format="date-time"),
    of(type="array", contains={"type": "string"}, uniqueItems=True, minItems=0, maxItems=3),
    of(type="string", deprecated=True, readOnly=True, examples=["a"], contentEncoding="base64", title="käse 🧀"),
    of(type=["string", "null"]),
    of(type="string", nullable=True),
    {"type": "object", "definitions": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a"}}},
    {"type": "object", "$defs": {"a b/c": True}, "properties": {"x": {"$ref": "#/$defs/a%20b~1c"}}},
    {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
    {"type": "object", "dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
    {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {
        "type": "object",
        "$id": "https://example.com/x",
        "properties": {"a": {"$ref": "https://example.com/x#/properties/b"}},
    },
    {"type": "object", "properties": {"a": {"const": None}, "if": {"type": "string"}, "bogus": {}}},
]


@pytest.mark.parametrize("schema", TAKEN)
def test_what_the_cli_takes_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert prepare(schema) == schema


@pytest.mark.parametrize(
    "dialect",
    [
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/schema#",
    ],
)
def test_a_declaration_is_left_out(dialect: str) -> None:
    assert prepare({"$schema": dialect, **OK}) == OK


TUPLE = {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}
NEWER = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}


@pytest.mark.parametrize(
    ("written", "given_to_the_cli"),
    [
        ({"$schema": "http://json-schema.org/draft-07/schema#", **of(**TUPLE)}, {"$schema": DRAFT_07, **of(**TUPLE)}),
        (of(**NEWER), {"$schema": DRAFT_07, **of(**TUPLE)}),
        (
            {"$schema": LATEST, **of(**NEWER)},
            {"$schema": DRAFT_07, **of(**TUPLE)},
        ),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"type": "object", "dependencies": {"a": ["b"]}}),
        (
            {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}, "dependencies": {"c": ["d"]}},
            {"type": "object", "dependencies": {"a": {"required": ["b"]}, "c": ["d"]}},
        ),
        (of(type="array", additionalItems=False), of(type="array")),
        ({"type": "object", "if": {"required": ["a"]}}, {"type": "object"}),
        ({"type": "object", "then": {"required": ["a"]}, "else": False}, {"type": "object"}),
        (of(**{"$schema": "http://json-schema.org/draft-04/schema#", "type": "string"}), of(type="string")),
        (of(enum=[1, {"a": 1, "b": 2}, 1, {"b": 2, "a": 1}]), of(enum=[1, {"a": 1, "b": 2}])),
        ({}, {"type": "object"}),
        ({"type": ["object", "null"]}, {"type": "object"}),
        ({"properties": {"ok": True}}, {"type": "object", "properties": {"ok": True}}),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}, "type": "object"},
        ),
        ({"enum": [1, {"a": 1}]}, {"enum": [1, {"a": 1}], "type": "object"}),
    ],
)
def test_what_it_says_otherwise_is_translated(written: dict[str, Any], given_to_the_cli: dict[str, Any]) -> None:
    assert prepare(written) == given_to_the_cli


NO_OBJECT = "describes no object"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"$schema": "http://json-schema.org/draft-04/schema#"}, "declares a dialect ($schema 'http://json-schema.org/draft"),
    ({"$schema": 7}, "declares a dialect ($schema 7) that the Claude CLI does not take"),
    ({"type": "array"}, NO_OBJECT),
    ({"type": ["string", "null"]}, NO_OBJECT),
    ({"const": 1}, NO_OBJECT),
    ({"enum": [1, "a"]}, NO_OBJECT),
    ({"anyOf": [{"type": "string"}, {"type": "array"}]}, NO_OBJECT),
    ({"allOf": [{"type": "object"}, {"type": "array"}]}, NO_OBJECT),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}}, NO_OBJECT),
    ({"anything": {"else": 1}}, "has the keyword 'anything' at $, which the Claude CLI does not take; leave it out"),
    (of(requird=True), "has the keyword 'requird' at $.properties.a"),
    ({"unevaluatedProperties": False}, "write additionalProperties"),
    (of(type="array", minContains=2), "has the keyword 'minContains' at $.properties.a"),
    ({"$defs": {"a": {"$anchor": "x"}}}, "refer to it by its path"),
    ({"id": "x"}, "write $id"),
    (of(nullable=True), 'has "nullable" without "type" at $.properties.a'),
    (of(prefixItems=[True], additionalItems=False), "has both prefixItems and additionalItems"),
    ({"dependentRequired": {"a": ["b"]}, "dependencies": {"a": ["c"]}}, "for what depends on a property"),
    (of(**{"$ref": "#/$defs/none"}), "refers to '#/$defs/none', which is not in it"),
    (of(**{"$ref": "https://example.com/x.json"}), "refers to 'https://example.com/x.json', which is not in it"),
    (of(enum=[]), "is not a JSON Schema at $.properties.a.enum: it has no value"),
    (of(pattern=r"a\-b"), r"regular expression at $.properties.a.pattern: 'a\\-b': \- is not a valid escape"),
    ({"patternProperties": {"(": {}}}, "at $.patternProperties: '(': a group is not closed"),
    ({"properties": []}, "is not a JSON Schema at $.properties: [] is not of type 'object'"),
    (of(minimum="1"), "is not a JSON Schema at $.properties.a.minimum: '1' is not of type 'number'"),
    (of(type="int"), "is not a JSON Schema at $.properties.a.type: 'int' is not valid"),
    ({"required": ["a", "a"]}, "has non-unique elements"),
    ({"$schema": LATEST, **of(items=[True])}, "is not a JSON Schema at $.prop"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "said"), REFUSED)
def test_what_it_does_not_take_is_refused_by_name(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(UnusableSchema) as refusal:
        prepare(schema)
    assert said in str(refusal.value)


@pytest.mark.parametrize("wrap", [lambda s: {"not": s}, lambda s: {"allOf": [s]}, lambda s: {"properties": {"a": s}}])
def test_a_schema_as_deep_as_a_document_may_be(wrap: Any) -> None:
    schema: Any = {"type": "string"}
    for _ in range((DOCUMENT.depth - 3) // (1 if "not" in wrap(0) else 2)):
        schema = wrap(schema)
    assert prepare(of(**schema)) == of(**schema)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
WORDS = ["type", "properties", "items", "pattern", "$ref", "minimum", "allOf", "$id", "enum", "$schema", "prefixItems"]
WORDS += ["dependentRequired", "dependencies", "patternProperties", "const", "if", "nullable", "$defs", "required"]


@given(
    st.dictionaries(
        st.sampled_from(WORDS), JSON | st.dictionaries(st.sampled_from(WORDS), JSON, max_size=4), max_size=4
    )
)
def test_any_object_is_a_schema_or_refused(value: dict[str, Any]) -> None:
    """And nothing else happens: whatever else were raised would be tried again for ever."""
    with contextlib.suppress(UnusableSchema):
        assert prepare(value)["type"] == "object"
