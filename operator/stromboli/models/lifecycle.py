"""`lifecycle`: shell commands that run in the container before the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from stromboli.models.base import NO_NUL, Model, none_if_empty, rules, without_nul
from stromboli.models.fields import Duration

HookKind = Literal["onCreateCommand", "postCreate", "postStart"]

_BLANK = (r"self.matches(r'[^ \t\n\r\f\v]')", "is blank; write a shell command, or leave the entry out")


def _not_blank(text: str) -> str:
    if not text.strip(" \t\n\r\f\v"):
        raise ValueError(_BLANK[1])
    return text


Command = Annotated[
    str,
    Field(min_length=1, max_length=8192, json_schema_extra=rules(NO_NUL, _BLANK)),
    without_nul,
    AfterValidator(_not_blank),
]
Commands = Annotated[Annotated[list[Command], Field(max_length=32)] | None, AfterValidator(none_if_empty)]
# Our names for the hooks of development containers (containers.dev).
_ALIASES = {"postCreateCommand": "postCreate", "postStartCommand": "postStart"}


def _one_name(alias: str, name: str) -> tuple[str, str]:
    return (f"!has(self.{alias}) || !has(self.{name})", f"{alias} is another name of {name}; give one of the two")


class Lifecycle(Model):
    """Each entry is one shell command (`/bin/sh -c`, in `workdir`), in order; the first that fails ends the run."""

    model_config = ConfigDict(json_schema_extra=rules(*(_one_name(*pair) for pair in _ALIASES.items())))

    on_create_command: Commands = Field(
        None, description="Run once in a session, when its container is created: installs, for example."
    )
    update_content_command: Commands = Field(
        None, description="Run once in a session, at the end of `onCreateCommand`, as in development containers."
    )
    post_create: Commands = Field(None, description="Run once in a session, after `onCreateCommand`.")
    post_create_command: Commands = Field(None, description="Another name of `postCreate`.")
    post_start: Commands = Field(None, description="Run on every run, before the agent.")
    post_start_command: Commands = Field(None, description="Another name of `postStart`.")
    hooks_timeout: Duration | None = Field(
        None, description="Time limit of all hooks of a run together; `timeout` limits them too."
    )

    @model_validator(mode="before")
    @classmethod
    def _by_our_names(cls, given: Any) -> Any:
        """Moves what was given under a name of development containers to ours: nothing else knows those names."""
        if not isinstance(given, Mapping):
            return given
        found = dict(given)
        for alias, name in _ALIASES.items():
            if found.get(alias):
                if found.get(name):
                    raise ValueError(_one_name(alias, name)[1])
                found[name] = found.pop(alias)
        if isinstance(found.get("updateContentCommand"), list):
            first = found.get("onCreateCommand") or []
            if isinstance(first, list):
                found["onCreateCommand"] = [*first, *found.pop("updateContentCommand")]
        return found

    @property
    def is_empty(self) -> bool:
        """Whether there are no hooks, which is the same as no `lifecycle` at all."""
        return not self.model_dump(exclude_none=True)

    def commands(self) -> Mapping[HookKind, tuple[str, ...]]:
        """The commands by hook, in the order in which the hooks run."""
        given = (self.on_create_command, self.post_create, self.post_start)
        return {kind: tuple(commands or ()) for kind, commands in zip(HOOKS, given, strict=True)}


# In the order in which they run. The first two are the session's, once; the last is each run's.
HOOKS: Final[tuple[HookKind, ...]] = ("onCreateCommand", "postCreate", "postStart")
INIT_HOOKS: Final[tuple[HookKind, ...]] = HOOKS[:2]
