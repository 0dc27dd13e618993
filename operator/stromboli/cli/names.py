"""Names of runs on the command line, also as `-o name` and kubectl write them: `agentrun/NAME`. Pure."""

from __future__ import annotations

from typing import TypeVar

import click

from stromboli.naming import GROUP

_KINDS = ("agentrun", "agentruns", f"agentrun.{GROUP}", f"agentruns.{GROUP}", "arun")

T = TypeVar("T", str, tuple[str, ...])


def of_runs(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """The names alone: what click calls with the value of an argument."""
    return _bare(value) if isinstance(value, str) else tuple(map(_bare, value))


def _bare(text: str) -> str:
    kind, slash, name = text.partition("/")
    return name if slash and kind.lower() in _KINDS else text
