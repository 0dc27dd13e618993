"""Whether a structured answer is valid by the schema that the CLI was given. Pure, but its time is not bounded.

The schema comes from plan/schema.py: draft-07 with `$defs` and OpenAPI's `nullable`. As in the CLI, `format` is no
constraint, and nothing outside the schema is referred to. A `pattern` that Python cannot express is not checked here;
the CLI has checked it. observe/schemas.py calls this in a separate process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stromboli.grammar import javascript

_MAX_PATH = 200  # characters
_MAX_RULE = 120


def violation(schema: Mapping[str, Any], answer: Any) -> str | None:
    """Where the answer first violates the schema, and which keyword; None if it is valid.

    Keys of the answer are part of that. Raises what recursion and references can raise.
    """
    import jsonschema
    import referencing
    from jsonschema import validators

    extend: Any = validators.extend
    own = {
        "type": _type,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    validator: Any = extend(jsonschema.Draft7Validator, own)(schema, registry=referencing.Registry())
    error = next(validator.iter_errors(answer), None)
    return None if error is None else _said(error)


def _said(error: Any) -> str:
    path = str(error.json_path)
    path = path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"
    rule = json.dumps(error.validator_value, ensure_ascii=False)
    rule = rule if len(rule) <= _MAX_RULE else f"{rule[:_MAX_RULE]}…"
    return f"at {path} it violates {error.validator}: {rule}" if error.validator else f"at {path} nothing is allowed"


def _type(validator: Any, types: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    import jsonschema

    if instance is None and schema.get("nullable") is True:
        return
    yield from jsonschema.Draft7Validator.VALIDATORS["type"](validator, types, instance, schema)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    del schema
    if not validator.is_type(instance, "string"):
        return
    found = javascript.compiled(pattern)
    if found is not None and found.search(instance) is None:
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    del schema
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        found = javascript.compiled(pattern)
        for name, value in instance.items() if found is not None else ():
            if found is not None and found.search(name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Every property that is neither named nor matched; with a pattern that has no translation, any may be matched."""
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns = [javascript.compiled(pattern) for pattern in schema.get("patternProperties", {})]
    if None in patterns:
        return
    named = schema.get("properties", {})
    for name, value in instance.items():
        if name in named or any(pattern.search(name) for pattern in patterns if pattern is not None):
            continue
        if rule is False:
            yield ValidationError("is not allowed", path=(name,))
        else:
            yield from validator.descend(value, rule, path=name)
