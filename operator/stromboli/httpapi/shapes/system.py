"""Shapes of /health and /claude/status."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stromboli.httpapi.shapes.base import AnswerShape


class ComponentHealth(AnswerShape):
    """A part that calls need."""

    name: str
    status: Literal["ok", "error"]
    error: str = Field("", description="What is wrong with it.")


class HealthAnswer(AnswerShape):
    """How the server is."""

    name: str = "stromboli"
    status: Literal["ok", "error"]
    version: str = Field(description="The version of Stromboli's API that is spoken.")
    operator_version: str = Field(description="The version of this software.")
    components: list[ComponentHealth] = Field(default_factory=list)


class ClaudeStatusAnswer(AnswerShape):
    """Whether there are credentials for Claude."""

    configured: bool
    message: str
