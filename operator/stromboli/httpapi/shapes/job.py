"""Shapes of /jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stromboli.httpapi.shapes.base import AnswerShape
from stromboli.httpapi.shapes.run import CrashInfo
from stromboli.plan.answered import JobStatus

_RUN_ID = "run-4f0c1d2e3a5b"
_TIME = "2026-01-31T12:00:00Z"


class JobAnswer(AnswerShape):
    """One run, whoever has created it."""

    id: str = Field(description="The AgentRun's name.", examples=[_RUN_ID])
    status: JobStatus = Field(description="`crashed` if the agent was killed or lost; `failed` for any other failure.")
    output: str | None = Field(
        None,
        description="What the agent said, in the form of `claude.output_format`; in a list the first 32 KiB, as text.",
    )
    error: str | None = Field(None, description="Why it did not complete.")
    session_id: str | None = Field(None, description="The session, to continue it with `claude.resume`.")
    created_at: str = Field(description="When it was created; RFC 3339.", examples=[_TIME])
    updated_at: str = Field(description="When its state last changed; RFC 3339.", examples=[_TIME])
    crash_info: CrashInfo | None = Field(None, description="Only with `crashed`.")


class JobsAnswer(AnswerShape):
    """A part of the runs of a namespace, the newest first."""

    jobs: list[JobAnswer]
    limit: int = Field(description="The most jobs in this answer.")
    offset: int = Field(description="How many newer ones were left out.")
    has_more: bool = Field(description="Whether there are older ones.")


class CancelAnswer(AnswerShape):
    """A job that was canceled."""

    cancelled: Literal[True] = True
    job_id: str = Field(description="The AgentRun's name.", examples=[_RUN_ID])
