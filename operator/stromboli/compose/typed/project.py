"""The top level of a compose file: services, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from stromboli.compose.typed.base import Ignored, Obeyed, Strict, Wrong
from stromboli.compose.typed.labels import Labels
from stromboli.compose.typed.networks import not_the_api
from stromboli.compose.typed.service import Service
from stromboli.compose.typed.values import Boolean, Text, Word, boolean, members, names, text

_EXTERNAL = "what was made outside of the stack is out of reach; it has its own"
_DRIVER_OPTIONS = "it could reach the node, or beyond it; take it out"
_LABELS = "a session's networks and volumes have only the operator's own"
_NAME = "the session's own is used"


def _not_external(value: object) -> bool:
    if isinstance(value, dict) or boolean(value):
        raise ValueError(f"is not supported: {_EXTERNAL}")
    return False


def _no_options(value: object) -> Mapping[str, object]:
    found = members(value)
    if found:
        raise ValueError(f"is not supported: {_DRIVER_OPTIONS}")
    return found


def _driver(*known: str) -> BeforeValidator:
    def read(value: object) -> str:
        found = text(value)
        if found and found not in known:
            raise ValueError(f"is not supported: the only driver is {known[0]}")
        return found

    return BeforeValidator(read)


def _services(value: object) -> dict[str, object]:
    found = names(value)
    for name in found:
        try:
            not_the_api(name)
        except ValueError as e:
            raise Wrong((name,), str(e)) from e
    return found


def _shared(value: object) -> dict[str, object]:
    """Networks or volumes: one without options is declared all the same."""
    return {name: {} if one is None else one for name, one in names(value).items()}


External = Annotated[Annotated[bool, BeforeValidator(_not_external)], Obeyed("Only `false`.")]
Options = Annotated[Annotated[Mapping[str, object], BeforeValidator(_no_options)], Obeyed("Only an empty one.")]


class Subnet(Strict):
    """One of `ipam.config`."""

    subnet: Annotated[Text | None, Ignored("two sessions with the same file would collide")] = None
    ip_range: Annotated[Text | None, Ignored("two sessions with the same file would collide")] = None
    gateway: Annotated[Text | None, Ignored("two sessions with the same file would collide")] = None
    aux_addresses: Annotated[
        Annotated[Mapping[str, object] | None, BeforeValidator(members)],
        Ignored("two sessions with the same file would collide"),
    ] = None


class Ipam(Strict):
    """`ipam` of a network."""

    refused: ClassVar = {"options": "addresses are given by the operator; take it out"}

    driver: Annotated[Annotated[str, _driver("default")], Ignored("it is the only one")] = "default"
    config: Annotated[list[Subnet], Ignored("two sessions with the same file would collide")] = Field(
        default_factory=list
    )


class Network(Strict):
    """One of the file's networks."""

    refused: ClassVar = {
        "attachable": "nothing else can be attached; take it out",
        "enable_ipv4": "take it out",
        "enable_ipv6": "take it out",
    }

    driver: Annotated[Annotated[str | None, _driver("bridge", "default")], Ignored("it is the only one")] = None
    driver_opts: Options = Field(default_factory=dict)
    external: External = False
    internal: Annotated[Boolean, Obeyed("No way out of it. With the policy's network `none`, every network is.")] = (
        False
    )
    ipam: Annotated[Ipam | None, Ignored("two sessions with the same file would collide")] = None
    name: Annotated[Text | None, Ignored(_NAME)] = None
    labels: Annotated[Labels, Ignored(_LABELS)] = Field(default_factory=dict)


class Volume(Strict):
    """One of the file's volumes."""

    driver: Annotated[Annotated[str | None, _driver("local")], Ignored("it is the only one")] = None
    driver_opts: Options = Field(default_factory=dict)
    external: External = False
    name: Annotated[Text | None, Ignored(_NAME)] = None
    labels: Annotated[Labels, Ignored(_LABELS)] = Field(default_factory=dict)


class Secret(Strict):
    """One of the file's secrets."""

    refused: ClassVar = {
        "driver": "secrets are files of the node",
        "driver_opts": "secrets are files of the node",
        "environment": "the operator's variables are out of reach; write file",
        "template_driver": "secrets are files of the node, as they are",
    }

    external: External = False
    file: Annotated[Word | None, Obeyed("A file in a folder that a policy allows.")] = None
    name: Annotated[Text | None, Ignored(_NAME)] = None
    labels: Annotated[Labels | None, Ignored("secrets have none here")] = None

    @model_validator(mode="after")
    def _whole(self) -> Secret:
        if self.file is None:
            raise Wrong(("file",), "is missing: a secret is a file of the node")
        return self


class Project(Strict):
    """The whole file."""

    refused: ClassVar = {
        "configs": "use a volume with the file, or a secret",
        "include": "write the services into this file, or name several files in environment.paths",
        "models": "take it out",
    }

    version: Annotated[Text | None, Ignored("it has no effect in Compose either")] = None
    name: Annotated[Text | None, Ignored("names are the session's own")] = None
    networks: Annotated[Annotated[dict[str, Network], BeforeValidator(_shared)], Obeyed()] = Field(default_factory=dict)
    volumes: Annotated[Annotated[dict[str, Volume], BeforeValidator(_shared)], Obeyed()] = Field(default_factory=dict)
    secrets: Annotated[Annotated[dict[str, Secret], BeforeValidator(names)], Obeyed()] = Field(default_factory=dict)
    services: Annotated[Annotated[dict[str, Service], BeforeValidator(_services)], Obeyed()]
