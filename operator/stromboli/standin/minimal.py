"""Builds a minimal value that satisfies a JSON Schema, for a structured answer without a JSON directive. Pure.

Covers the common parts of JSON Schema: objects, arrays, strings, numbers, enums, local `$ref`s and combinations. The
value is validated with jsonschema: an unsupported schema raises InvalidInput and never yields an invalid value.
"""

from __future__ import annotations

import math
from typing import Any

import jsonschema

from stromboli.errors import InvalidInput

_DEPTH = 32  # a schema that refers to itself in a required field has no finite value, so recursion is limited


def value(schema: dict[str, Any]) -> Any:
    """A valid value. Raises InvalidInput if the schema is invalid or uses something that is not supported here."""
    built = _build(schema, schema, 0)
    try:
        jsonschema.validate(built, schema)
    except (jsonschema.ValidationError, jsonschema.SchemaError) as e:
        raise InvalidInput(f"no value can be generated for this schema ({e.message}); give one as JSON{{…}}") from e
    return built


def _build(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if depth > _DEPTH:
        raise InvalidInput("the schema refers to itself without end; give a value as JSON{…}")
    if not isinstance(schema, dict):
        return None
    schema = _resolved(schema, root, depth)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    return _typed(schema, root, depth)


def _resolved(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    merged = dict(schema)
    parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())[:1], *schema.get("oneOf", ())[:1]]
    if "$ref" in schema:
        parts.append(_referred(str(schema["$ref"]), root))
    if depth > _DEPTH:
        raise InvalidInput("the schema refers to itself without end; give a value as JSON{…}")
    for part in (_resolved(p, root, depth + 1) for p in parts if isinstance(p, dict)):
        required = [*merged.get("required", ()), *part.get("required", ())]
        properties = {**part.get("properties", {}), **merged.get("properties", {})}
        merged = {**part, **merged, "required": required, "properties": properties}
    return merged


def _referred(pointer: str, root: dict[str, Any]) -> Any:
    if not pointer.startswith("#"):
        raise InvalidInput(f"the reference {pointer} points outside the schema; give a value as JSON{{…}}")
    node: Any = root
    for step in pointer.removeprefix("#").strip("/").split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        node = node.get(step) if isinstance(node, dict) and step else node
    return node


def _typed(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or (kind is None and schema.get("properties")):
        fields = schema.get("properties", {})
        return {name: _build(fields.get(name, {}), root, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        return [_build(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return "-" * schema.get("minLength", 0)
    if kind in ("integer", "number"):
        return _number(schema)
    return False if kind == "boolean" else None


def _number(schema: dict[str, Any]) -> float:
    least: float = schema.get("minimum", min(0, schema.get("maximum", 0)))
    if "exclusiveMinimum" in schema:
        least = max(least, math.floor(schema["exclusiveMinimum"]) + 1)
    step: float = schema.get("multipleOf") or (1 if schema.get("type") == "integer" else 0)
    return math.ceil(least / step) * step if step else least
