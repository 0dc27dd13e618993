"""`environment`: a stack of services, of which one is the agent's. What the stack's file may say is in compose/."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from stromboli.models.base import (
    NO_NUL,
    KeyRef,
    Model,
    VariableName,
    VariableValue,
    Word,
    matches,
    none_if_empty,
    rules,
    without_nul,
)
from stromboli.models.fields import AbsolutePath, ImageRef

# As of a prompt: what of it fits into an object beside the rest is checked when the run starts (kube/outline.py).
MAX_INLINE = 1024 * 1024
MAX_SERVICE_NAME = 253
SERVICE_NAME = re.compile(r"[a-zA-Z0-9._-]+")  # as the Compose Specification's schema has it
_SERVICE_NAME_RE2 = f"^{SERVICE_NAME.pattern}$"
NO_SERVICE = "is not the name of a service: letters, digits, dots, - and _ only"

Source = Literal["path", "paths", "inline", "configMapKeyRef"]
SOURCES: tuple[Source, ...] = ("path", "paths", "inline", "configMapKeyRef")
ONE_SOURCE = "give exactly one of path, paths, inline and configMapKeyRef"
IMAGE_OF_SERVICE = (
    "the agent runs in a service of the environment, and in its image; leave image out, and name another image of a "
    "service in environment.images if need be"
)
# For the spec of a run and the template of a session.
NO_IMAGE_BESIDE = ("!has(self.environment) || !has(self.image)", IMAGE_OF_SERVICE)


class EnvironmentType(StrEnum):
    """What describes the stack."""

    compose = "compose"


class Variable(Model):
    """A variable of the stack's file."""

    name: VariableName = Field(description="Name of the variable.")
    value: VariableValue = Field("", description="Its literal value: nothing in it is expanded.")


def _once_each(variables: list[Variable] | None) -> list[Variable] | None:
    names = [variable.name for variable in variables or ()]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise ValueError(f"{name} is given twice; keep one")
    return none_if_empty(variables)


def _of_services(images: dict[str, str] | None) -> dict[str, str] | None:
    for service in images or ():
        if len(service) > MAX_SERVICE_NAME or not SERVICE_NAME.fullmatch(service):
            raise ValueError(f"has a key that {NO_SERVICE}")
    return images or None


_SOURCE_RULE = (
    "[has(self.path), has(self.paths) && size(self.paths) > 0, has(self.inline), has(self.configMapKeyRef)]"
    ".filter(given, given).size() == 1"
)


class Environment(Model):
    """The stack that the agent runs in. It lives as long as the session; a run without one has its own."""

    model_config = ConfigDict(json_schema_extra=rules((_SOURCE_RULE, ONE_SOURCE)))

    type: EnvironmentType = Field(description="What describes the stack: a compose file.")
    path: AbsolutePath | None = Field(
        None, description="A compose file on the node, in a folder that a policy allows (`volumes.allowed`)."
    )
    paths: Annotated[Annotated[list[AbsolutePath], Field(max_length=16)] | None, AfterValidator(none_if_empty)] = Field(
        None,
        description="Several such files, each merged into the ones before it, like `-f` given more than once. Relative "
        "paths start at the folder of the first.",
    )
    inline: (
        Annotated[str, Field(min_length=1, max_length=MAX_INLINE, json_schema_extra=rules(NO_NUL)), without_nul] | None
    ) = Field(None, description="The compose file itself, at most 1 MiB. It has no folder, so no relative paths.")
    config_map_key_ref: KeyRef | None = Field(
        None, description="A key of a ConfigMap that has the compose file. It has no folder, so no relative paths."
    )
    service: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=MAX_SERVICE_NAME,
                json_schema_extra=matches(_SERVICE_NAME_RE2, NO_SERVICE),
            ),
        ]
        | None
    ) = Field(
        None,
        description="The service in which the agent runs, instead of the service's own command. It may be left out "
        "for a file with a single service.",
    )
    profiles: Annotated[
        Annotated[list[Word], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] | None,
        AfterValidator(none_if_empty),
    ] = Field(None, description="Profiles of the file that are on; `*` is all of them.")
    env: Annotated[
        Annotated[
            list[Variable],
            Field(
                max_length=256,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | None,
        AfterValidator(_once_each),
    ] = Field(
        None,
        description="Values for `${NAME}` in the file; they come before those in the `.env` file beside it. Nothing "
        "secret: whoever may read the run sees them.",
    )
    images: Annotated[Annotated[dict[str, ImageRef], Field(max_length=256)] | None, AfterValidator(_of_services)] = (
        Field(None, description="Images of services, by service, instead of those that the file names or builds.")
    )

    @property
    def given(self) -> tuple[Source, ...]:
        """The sources that are given: one, in a valid environment."""
        have = (self.path, self.paths, self.inline, self.config_map_key_ref)
        return tuple(name for name, value in zip(SOURCES, have, strict=True) if value is not None)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of its files on the node, the first one first; none if it is not on the node."""
        return (self.path,) if self.path is not None else tuple(self.paths or ())

    @property
    def variables(self) -> dict[str, str]:
        """The values of `env`, by name."""
        return {variable.name: variable.value for variable in self.env or ()}
