"""`lifecycle`: shell commands that run in the container before the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from stromboli.models.base import NO_NUL, Model, rules, without_nul
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
Commands = Annotated[list[Command], Field(max_length=32)]


class Lifecycle(Model):
    """Each entry is one shell command (`/bin/sh -c`, in `workdir`), in order; the first that fails ends the run."""

    on_create_command: Commands | None = Field(
        None, description="Run once in a session, when its container is made: installs, for example."
    )
    post_create: Commands | None = Field(None, description="Run once in a session, after `onCreateCommand`.")
    post_start: Commands | None = Field(None, description="Run on every run, before the agent.")
    hooks_timeout: Duration | None = Field(
        None, description="How long all the hooks of a run may take; `timeout` bounds them as well."
    )

    def commands(self) -> Mapping[HookKind, tuple[str, ...]]:
        """The commands by hook, in the order in which the hooks run."""
        given = (self.on_create_command, self.post_create, self.post_start)
        return {kind: tuple(commands or ()) for kind, commands in zip(HOOKS, given, strict=True)}


# In the order in which they run. The first two are the session's, once; the last is each run's.
HOOKS: Final[tuple[HookKind, ...]] = ("onCreateCommand", "postCreate", "postStart")
INIT_HOOKS: Final[tuple[HookKind, ...]] = HOOKS[:2]
