"""What all shapes share: how a request's body is read, and how a field that is wrong is named.

A body is JSON whatever its Content-Type says, since `curl -d` sends a form's. A field that is null, empty or zero is
the same as none: Stromboli's Go client sends its structs so. A field that is unknown, or of another type, is refused
with its path.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from stromboli import bounds, visible
from stromboli.errors import OutOfBounds
from stromboli.httpapi.errors import Refusal, invalid

R = TypeVar("R", bound="RequestShape")

_MAX_SHOWN = 80  # characters of a name that somebody else has chosen
_MAX_LISTED = 12  # fields named where none is alike


class RequestShape(BaseModel):
    """Base of what a caller sends: types are not converted, unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class AnswerShape(BaseModel):
    """Base of what a caller gets. A field that is None is left out of the JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _or_none(value: Any) -> Any:
    return value or None


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


# For the annotation of a field: what is empty or zero becomes None.
unless_empty = AfterValidator(_or_none)


def null_is_empty(shape: type[BaseModel]) -> BeforeValidator:
    """For the annotation of a field with that shape: null becomes an empty object."""
    return BeforeValidator(_or_empty, json_schema_input_type=shape | None)


Text = Annotated[str | None, unless_empty]
Texts = Annotated[list[str] | None, unless_empty]
Flag = Annotated[bool | None, AfterValidator(bool)]


def parse(body: bytes, shape: type[R]) -> R:
    """The request in a body. Raises Refusal."""
    if not body.strip():
        raise invalid("", f"the body is empty; send a JSON object, such as {_example(shape)}")
    document = read(body)
    if not isinstance(document, dict):
        raise invalid("", f"the body is {_kind(document)}; send a JSON object, such as {_example(shape)}")
    return validated(document, shape)


def validated(document: Mapping[str, Any], shape: type[R]) -> R:
    """The request in a JSON object. Raises Refusal."""
    _check_texts(document)
    try:
        return shape.model_validate(document)
    except ValidationError as e:
        raise _refusal(e, shape) from e


def read(body: bytes) -> Any:
    """The JSON in a body. Raises Refusal."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as e:
        raise invalid("", f"the body is not UTF-8 (byte {e.start}); send JSON in UTF-8") from e
    try:
        return bounds.json_document(text, bounds.DOCUMENT, constant=_no_constant, real=_finite, pairs=_once_each)
    except OutOfBounds as e:
        if len(body) > bounds.DOCUMENT.size:
            raise Refusal(413, f"the body {e}") from e
        raise invalid("", f"the body {e}") from e
    except ValueError as e:
        where = f"{e.msg} (line {e.lineno}, column {e.colno})" if isinstance(e, json.JSONDecodeError) else str(e)
        raise invalid("", f"the body is not JSON: {where}") from e


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is given twice in one object; keep one")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is JavaScript; write a number")


def _finite(number: str) -> float:
    found = float(number)
    if not math.isfinite(found):
        raise ValueError(f"{number[:_MAX_SHOWN]} is larger than any number that can be stored")
    return found


def _check_texts(document: Any) -> None:
    """Neither names nor values may have half of a surrogate pair: nothing can store it. Without recursion."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while left:
        at, value = left.pop()
        if isinstance(value, str) and not _is_storable(value):
            raise invalid(path(at), "has half of a surrogate pair, which is no character; take it out")
        if isinstance(value, dict):
            if any(not _is_storable(name) for name in value):
                raise invalid(path(at), "a name in it has half of a surrogate pair, which is no character; take it out")
            left += [((*at, name), each) for name, each in value.items()]
        elif isinstance(value, list):
            left += [((*at, n), each) for n, each in enumerate(value)]


def _is_storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def path(parts: Sequence[str | int]) -> str:
    """The path of a field: `podman.volumes[0]`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if text else shown(part)
    return text


def shown(name: str) -> str:
    """A name that somebody else has chosen, for a message."""
    text = visible.text(name[:_MAX_SHOWN]).replace("\n", "\\n")
    return text if len(name) <= _MAX_SHOWN else f"{text}…"


def _refusal(error: ValidationError, shape: type[BaseModel]) -> Refusal:
    """The first problem; unknown fields come first, since a misspelled one is also missed under its right name."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    loc = [part for part in first["loc"] if part not in _BRANCHES]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return invalid(path(loc), f"{_why(first['type'], first['msg'], first['input'], loc, shape)}{more}")


# Members of a union that pydantic names in a location, none of which is a field's name.
_BRANCHES = frozenset({"str", "int", "float", "bool", "list[str]", "dict[str,str]"})
_TYPES = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list of strings",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _why(problem: str, message: str, value: Any, loc: Sequence[str | int], shape: type[BaseModel]) -> str:
    """The sentence for one of pydantic's types of problems."""
    match problem:
        case "extra_forbidden":
            return _unknown(loc, shape)
        case "missing":
            return f"is missing; {_advice(loc, shape) or 'it is required'}"
        case found if found in _TYPES:
            advice = _advice(loc, shape)
            said = f"is {_kind(value)} and must be {_TYPES[found]}"
            return f"{said}; {advice}" if advice else said
        case _:
            return message.removeprefix("Value error, ")


def _advice(loc: Sequence[str | int], shape: type[BaseModel]) -> str:
    """What to write, from the field's example."""
    names = [part for part in loc if isinstance(part, str)]
    found = _field(names, shape)
    if found is None or not found.examples:
        return ""
    return f"write {json.dumps(found.examples[0], ensure_ascii=False)} for example"


def _unknown(loc: Sequence[str | int], shape: type[BaseModel]) -> str:
    name, parents = str(loc[-1])[: _MAX_SHOWN + 1], [part for part in loc[:-1] if isinstance(part, str)]
    inside = path(parents)
    said = f"is no field of {inside}" if inside else "is no field of the request"
    at = _shape(parents, shape)
    fields = list(_names(at)) if at is not None else []
    if meant := alike(name, fields):
        return f"{said}; did you mean {path([*parents, meant])}?"
    if (elsewhere := next((each for each in _paths(shape) if each[-1] == name.lower()), None)) is not None:
        return f"{said}; it belongs in {path(elsewhere)}"
    if 0 < len(fields) <= _MAX_LISTED:
        return f"{said}, which has {', '.join(fields)}"
    return f"{said}; take it out"


def alike(name: str, names: Iterable[str]) -> str | None:
    """What was probably meant by a name that is none of `names`."""
    if len(name) > _MAX_SHOWN:  # to compare it takes a time that grows with its length
        return None
    return next(iter(difflib.get_close_matches(name.lower(), names, 1, 0.7)), None)


def _names(shape: type[BaseModel]) -> Iterator[str]:
    return (field.alias or name for name, field in shape.model_fields.items())


def _paths(shape: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a shape, those at the top first."""
    yield from ((*above, name) for name in _names(shape))
    for name, field in shape.model_fields.items():
        if (inner := _model(field.annotation)) is not None:
            yield from _paths(inner, (*above, field.alias or name))


def _field(names: Sequence[str], shape: type[BaseModel]) -> FieldInfo | None:
    """The field at that path; None if there is none."""
    parent = _shape(names[:-1], shape) if names else None
    return None if parent is None else _own(parent, names[-1])


def _shape(names: Sequence[str], shape: type[BaseModel]) -> type[BaseModel] | None:
    """The shape of the object at that path; None if any names may be in it."""
    found: type[BaseModel] | None = shape
    for name in names:
        field = _own(found, name) if found is not None else None
        found = _model(field.annotation) if field is not None else None
    return found


def _own(shape: type[BaseModel], name: str) -> FieldInfo | None:
    return next((field for own, field in shape.model_fields.items() if (field.alias or own) == name), None)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The shape that a field's annotation names, if it names one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_model, get_args(annotation))), None)
    return None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _example(shape: type[BaseModel]) -> str:
    required = {name: f.examples[0] for name, f in shape.model_fields.items() if f.is_required() and f.examples}
    return json.dumps(required)
