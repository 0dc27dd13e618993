"""What a run takes from ConfigMaps and Secrets into its environment, and into files: as in a Pod's spec.

Only the references are here, with the rules that a schema can express. What they lead to is looked up at each attempt
(observe/references.py), and put together in plan/references.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from stromboli.models.base import (
    ENV_NAME_PATTERN,
    KEY_PATTERN,
    LITERAL_VALUE,
    VARIABLE_NAME,
    VARIABLE_RULES,
    KeyRef,
    Model,
    ObjectName,
    VariableName,
    VariableValue,
    rules,
)

MAX_SOURCES = 64
MAX_FILES = 64
MAX_TAKEN = 1024 * 1024  # bytes: as much as one Secret may have
TOGETHER = "`env`, `envFrom` and `secretFiles` take at most 1 MiB from ConfigMaps and Secrets together."

ONE_KEY = "give exactly one of secretKeyRef and configMapKeyRef"
ONE_OBJECT = "give exactly one of secretRef and configMapRef"
ONE_VALUE = "give value or valueFrom, not both"
NO_PREFIX = "cannot begin the name of a variable: letters, digits and _ only, not beginning with a digit"
NO_FILE_NAME = "is not the name of a file: letters, digits, -, _ and . only, and neither . nor .."

Optional = Annotated[
    bool | None,
    Field(description="Whether the run goes on without it if it is missing; otherwise it waits for it."),
]


class OptionalKeyRef(KeyRef):
    """One key of a ConfigMap or Secret in the run's namespace, which may be optional."""

    optional: Optional = None


class ObjectRef(Model):
    """A ConfigMap or Secret in the run's namespace, which may be optional."""

    name: ObjectName = Field(description="Name of the object.")
    optional: Optional = None


class ValueSource(Model):
    """The source of a variable's value: exactly one of the two."""

    model_config = ConfigDict(json_schema_extra=rules(("has(self.secretKeyRef) != has(self.configMapKeyRef)", ONE_KEY)))

    secret_key_ref: OptionalKeyRef | None = Field(None, description="A key of a Secret.")
    config_map_key_ref: OptionalKeyRef | None = Field(None, description="A key of a ConfigMap.")


class RunVariable(Model):
    """An environment variable of a run: literal, or with a value from elsewhere."""

    model_config = ConfigDict(
        json_schema_extra=rules(*VARIABLE_RULES, ("!has(self.value) || !has(self.valueFrom)", ONE_VALUE))
    )

    name: VariableName = Field(description=VARIABLE_NAME)
    value: VariableValue | None = Field(None, description=LITERAL_VALUE)
    value_from: ValueSource | None = Field(None, description="Where its value is read, in place of `value`.")

    @property
    def literal(self) -> str | None:
        """Its value, if it is in the spec: empty unless the spec says something else."""
        return (self.value or "") if self.value_from is None else None


class EnvFrom(Model):
    """All keys of a ConfigMap or Secret as environment variables."""

    model_config = ConfigDict(json_schema_extra=rules(("has(self.secretRef) != has(self.configMapRef)", ONE_OBJECT)))

    secret_ref: ObjectRef | None = Field(None, description="A Secret.")
    config_map_ref: ObjectRef | None = Field(None, description="A ConfigMap.")
    prefix: (
        Annotated[
            str,
            Field(
                max_length=256,
                json_schema_extra=rules((f"self == '' || self.matches(r'{ENV_NAME_PATTERN}')", NO_PREFIX)),
            ),
        ]
        | None
    ) = Field(None, description="What each name begins with, before the key.")


class SecretFile(Model):
    """A file with one key of a Secret."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                (f"self.matches(r'{KEY_PATTERN}') && self != '.' && self != '..'", NO_FILE_NAME),
            ),
        ),
    ] = Field(description="Name of the file in /run/stromboli/secret.")
    secret_key_ref: OptionalKeyRef = Field(description="A key of a Secret.")


EnvFroms = Annotated[list[EnvFrom], Field(max_length=MAX_SOURCES)]
SecretFiles = Annotated[
    list[SecretFile],
    Field(
        max_length=MAX_FILES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
