"""Translates `claude.jsonSchema` into a schema with the same meaning in the dialect that the Claude CLI accepts. Pure.

The CLI (seen: 2.1.332) compiles the schema with Ajv in strict mode: draft-07 with `$defs` and OpenAPI's `nullable`.
It exits for any other declared dialect, for every unknown keyword, and for some keywords that have no effect where they
are. Its structured answer is the input of a tool, and therefore an object. So a schema is checked by the dialect that
it declares, newer keywords with an equivalent are translated, and the message of a refusal names the others.

How long that takes depends on the schema, so the operator does it in a separate process (observe/schemas.py). This
module imports nothing that would make that process slow to start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from stromboli.errors import UnusableSchema
from stromboli.grammar.regex import problem

Schema = dict[str, Any]
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
# jsonschema's class for each declared dialect (without scheme and empty fragment); None if none is declared.
_DIALECTS: Mapping[str, str | None] = {
    "json-schema.org/draft-06/schema": "Draft6Validator",
    "json-schema.org/draft-07/schema": "Draft7Validator",
    "json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "json-schema.org/schema": None,
}
# The keywords with subschemas: as a value, as items of a list, as values of a mapping.
_SINGLE = frozenset({"additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items"})
_SINGLE |= {"not", "propertyNames", "then"}
_LISTS = frozenset({"allOf", "anyOf", "items", "oneOf"})
_MAPS = frozenset({"$defs", "definitions", "dependencies", "patternProperties", "properties"})
# The other keywords that the CLI knows.
_PLAIN = frozenset(
    {"$comment", "$id", "$ref", "const", "contentEncoding", "contentMediaType", "default", "deprecated",
     "description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems",
     "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
     "multipleOf", "nullable", "pattern", "readOnly", "required", "title", "type", "uniqueItems", "writeOnly"}
)  # fmt: skip
_SHOWN = 80  # characters of the user's text in a message


def prepare(document: Mapping[str, Any]) -> Schema:
    """The schema for the CLI, from a document within its bounds. Raises UnusableSchema."""
    if (dialect := _dialect(document)) is not None:
        _check(document, dialect)
    schema: Schema = _translated(document, "$")
    _check(schema, "Draft7Validator")
    _check_references(schema)
    schema = _of_an_object(schema)
    if any(isinstance(each.get("items"), list) for each in _schemas(schema)):
        schema = {"$schema": DRAFT_07, **schema}  # `items` as a list has another meaning elsewhere
    return schema


def _dialect(document: Mapping[str, Any]) -> str | None:
    declared = document.get("$schema")
    if declared is None:
        return None
    name = declared.removesuffix("#") if isinstance(declared, str) else ""
    name = name.removeprefix("http://").removeprefix("https://")
    if name not in _DIALECTS:
        raise UnusableSchema(
            f"declares a dialect ($schema {_shown(declared)}) that the Claude CLI does not take; write the schema in "
            "draft-07 or 2020-12"
        )
    return _DIALECTS[name]


def _check(schema: Mapping[str, Any], dialect: str) -> None:
    """Check by the dialect's own schema. Regular expressions are JavaScript's, and checked elsewhere."""
    import jsonschema
    from jsonschema.exceptions import SchemaError, UnknownType

    validator: Any = getattr(jsonschema, dialect)
    try:
        validator.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except (SchemaError, UnknownType) as e:
        where, what = getattr(e, "json_path", "$"), getattr(e, "message", str(e))
        raise UnusableSchema(f"is not a JSON Schema at {where}: {what}") from e


def _translated(schema: Any, path: str) -> Any:
    """A schema in the CLI's dialect. Values of the wrong type are kept, and found by `_check`."""
    if not isinstance(schema, Mapping):
        return schema
    said = _without_effectless(_in_older_words(schema, path))
    out: Schema = {}
    for key, value in said.items():
        where = f"{path}.{key}"
        if key in _MAPS and isinstance(value, Mapping):
            out[key] = {name: _translated(inner, f"{where}.{name}") for name, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            out[key] = [_translated(inner, f"{where}[{n}]") for n, inner in enumerate(value)]
        elif key in _SINGLE:
            out[key] = _translated(value, where)
        elif key in _PLAIN or key in _MAPS or key in _LISTS:
            out[key] = value
        else:
            hint = _HINTS.get(key, "leave it out")
            raise UnusableSchema(f"has the keyword {_shown(key)} at {path}, which the Claude CLI does not take; {hint}")
    _check_patterns(out, path)
    if isinstance(values := out.get("enum"), list):
        if not values:
            raise UnusableSchema(f"is not a JSON Schema at {path}.enum: it has no value")
        out["enum"] = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    if "nullable" in out and "type" not in out:
        raise UnusableSchema(f'has "nullable" without "type" at {path}; write both, or a type of ["…", "null"]')
    return out


_HINTS: Mapping[str, str] = {
    "id": "write $id",
    "$anchor": "refer to it by its path, such as #/$defs/name",
    "$dynamicRef": "write $ref",
    "$recursiveRef": "write $ref",
    "unevaluatedProperties": "write additionalProperties",
    "unevaluatedItems": "write items",
}


def _in_older_words(schema: Mapping[str, Any], path: str) -> Schema:
    """Renames keywords of 2019-09 and 2020-12 to those of draft-07, and removes the dialect from subschemas."""
    said = {key: value for key, value in schema.items() if key not in ("$schema", "$vocabulary")}
    if "prefixItems" in said:
        if "additionalItems" in said:
            raise UnusableSchema(f"has both prefixItems and additionalItems at {path}; keep the one of its dialect")
        rest = said.pop("items", None)
        said["items"] = said.pop("prefixItems")
        if rest is not None:
            said["additionalItems"] = rest
    for newer in ("dependentRequired", "dependentSchemas"):
        if newer in said and isinstance(added := said[newer], Mapping):
            older = said.get("dependencies", {})
            if not isinstance(older, Mapping) or not added.keys().isdisjoint(older.keys()):
                raise UnusableSchema(f"has more than one keyword at {path} for what depends on a property; write one")
            said["dependencies"] = {**older, **said.pop(newer)}
    return said


def _without_effectless(said: Schema) -> Schema:
    """Removes keywords that have no effect where they are, for which the CLI exits."""
    if not isinstance(said.get("items"), list):
        said.pop("additionalItems", None)
    if "if" not in said:
        said.pop("then", None)
        said.pop("else", None)
    elif "then" not in said and "else" not in said:
        said.pop("if")
    return said


def _check_patterns(schema: Schema, path: str) -> None:
    patterns = [("pattern", schema.get("pattern"))]
    if isinstance(named := schema.get("patternProperties"), dict):
        patterns += [("patternProperties", pattern) for pattern in named]
    for key, pattern in patterns:
        if isinstance(pattern, str) and (said := problem(pattern)):
            where = f"{path}.{key}"
            raise UnusableSchema(f"is not a valid JavaScript regular expression at {where}: {_shown(pattern)}: {said}")


def _schemas(schema: Any) -> Iterator[Schema]:
    """A schema and all schemas in it."""
    left = [schema]
    while left:
        here = left.pop()
        if not isinstance(here, dict):
            continue
        yield here
        for key, value in here.items():
            if key in _MAPS and isinstance(value, dict):
                left += value.values()
            elif key in _LISTS and isinstance(value, list):
                left += value
            elif key in _SINGLE:
                left.append(value)


def _check_references(schema: Schema) -> None:
    """Check that references resolve in the schema. If it declares ids, that is left to the CLI."""
    if any("$id" in each for each in _schemas(schema)):
        return
    for each in _schemas(schema):
        reference = each.get("$ref")
        if isinstance(reference, str) and _referred(schema, reference) is None:
            shown = _shown(reference)
            raise UnusableSchema(f"refers to {shown}, which is not in it; put it below $defs and write #/$defs/NAME")


def _referred(schema: Schema, reference: str) -> Any:
    """What a reference leads to, or None."""
    if not reference.startswith("#") or (reference != "#" and not reference.startswith("#/")):
        return None
    node: Any = schema
    for step in unquote(reference[1:]).split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and step.isdecimal():
            node = node[int(step)] if len(step) < 9 and int(step) < len(node) else None
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


def _of_an_object(schema: Schema) -> Schema:
    """The schema with the type that an answer has. Raises UnusableSchema if it allows no object."""
    if not _allows_object(schema, schema):
        raise UnusableSchema(
            'describes no object, which the answer always is; make its type "object" and put what you want into a '
            "property of it"
        )
    return {**schema, "type": "object"}


_HOPS = 16


def _allows_object(schema: Any, root: Schema, hops: int = _HOPS) -> bool:
    """Whether an object may be valid, judging by the outermost keywords."""
    if not isinstance(schema, dict) or hops == 0:
        return schema is not False
    kinds = schema.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        return False
    if "const" in schema and not isinstance(schema["const"], dict):
        return False
    if "enum" in schema and not any(isinstance(value, dict) for value in schema["enum"]):
        return False
    reference = schema.get("$ref")
    if isinstance(reference, str) and not _allows_object(_referred(root, reference), root, hops - 1):
        return False
    ways: tuple[tuple[str, Callable[[Iterator[bool]], bool]], ...] = (("allOf", all), ("anyOf", any), ("oneOf", any))
    return all(
        judge(_allows_object(each, root, hops - 1) for each in schema[key]) for key, judge in ways if key in schema
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
