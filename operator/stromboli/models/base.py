"""What all models share: camelCase in the API, unknown fields refused, immutable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stromboli import naming

T = TypeVar("T")

ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
OBJECT_NAME_PATTERN = naming.OBJECT_NAME_PATTERN

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=OBJECT_NAME_PATTERN)]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=KEY_PATTERN)]


# No argument, variable or file name of a process can contain a NUL.
NO_NUL = (r"!self.contains('\u0000')", "has a NUL character in it; take it out")


def rule(condition: str, message: str, expression: str | None = None) -> dict[str, str]:
    """One CEL rule; `expression` computes its message from the value, where possible."""
    made = {"rule": condition, "message": message}
    return made if expression is None else {**made, "messageExpression": expression}


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for `json_schema_extra`: (rule, message) each."""
    return {"x-kubernetes-validations": [rule(r, m) for r, m in pairs]}


def matches(regex: str, message: str) -> dict[str, Any]:
    """A string that must match an anchored RE2, with a message in words: a schema's `pattern` would show the regex."""
    assert "'" not in regex, "the regex is inside a raw CEL string"
    return rules((f"self.matches(r'{regex}')", message))


def _words(names: Iterable[str]) -> str:
    """A list of strings, in CEL."""
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def none_if_empty(values: list[T] | None) -> list[T] | None:
    """For lists whose emptiness has no meaning."""
    return values or None


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(NO_NUL[1])
    return text


without_nul = AfterValidator(_without_nul)  # checks in the operator what NO_NUL checks at apply
Text = Annotated[str, Field(max_length=65536, json_schema_extra=rules(NO_NUL)), without_nul]
Word = Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=rules(NO_NUL)), without_nul]


class Model(BaseModel):
    """Base of all spec models."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class KeyRef(Model):
    """One key of a ConfigMap or Secret in the run's namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: DataKey = Field(description="Key in its data.")


VariableName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        json_schema_extra=matches(
            ENV_NAME_PATTERN,
            "is not the name of a variable: letters, digits and _ only, not beginning with a digit",
        ),
    ),
]
VariableValue = Annotated[str, Field(max_length=32768, json_schema_extra=rules(NO_NUL)), without_nul]


# Which variables may be set: (rule, message) each.
VARIABLE_RULES = (
    (
        " && ".join(f"!self.name.startsWith('{prefix}')" for prefix in naming.LOADER_ENV_PREFIXES)
        + f" && !(self.name in {_words(naming.LOADER_ENV)})",
        "this variable changes which code the agent's process loads and may not be set here",
    ),
    (
        f"!(self.name in {_words(naming.OWN_ENV)}) && !self.name.startsWith('{naming.OWN_ENV_PREFIX}')",
        f"{', '.join(naming.OWN_ENV)} and {naming.OWN_ENV_PREFIX}* are set by the operator",
    ),
    (
        f"!self.name.matches(r'{naming.SUPERVISOR_ENV_RE2}')",
        "names that begin with _ and a lower-case letter belong to the supervisor; choose another name",
    ),
)
VARIABLE_NAME = "Name of the variable: letters, digits and _, not beginning with a digit."
LITERAL_VALUE = "Its literal value: nothing in it is expanded."


class EnvVar(Model):
    """A literal environment variable."""

    model_config = ConfigDict(json_schema_extra=rules(*VARIABLE_RULES))

    name: VariableName = Field(description=VARIABLE_NAME)
    value: VariableValue = Field("", description=LITERAL_VALUE)
