"""Shapes of /sessions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stromboli.httpapi.shapes.base import AnswerShape

_SESSION_ID = "5b9d2c4e-8a1f-4c3d-9e7a-1f2b3c4d5e6f"
_UUID = "92242819-b7d1-48d4-b023-6134c3e9f63a"
_TIME = "2026-01-31T12:00:00Z"


class SessionsAnswer(AnswerShape):
    """The sessions of a namespace by their IDs, the newest first."""

    sessions: list[str] = Field(examples=[[_SESSION_ID]])


class SessionInfo(AnswerShape):
    """One session."""

    id: str = Field(description="The AgentSession's name.", examples=[_SESSION_ID])
    title: str | None = Field(None, description="Its title for people.")
    state: str | None = Field(
        None, description="The reason of the AgentSession's condition Ready; absent before its first run."
    )
    node: str | None = Field(None, description="The node that holds it.")
    image: str | None = Field(None, description="The image of its container.", examples=["python:3.12"])
    runs: int = Field(0, description="How many runs have started in it.")
    current_run: str | None = Field(None, description="The run that holds it now.")
    forked_from: str | None = Field(None, description="The session that it is a copy of.")
    last_used: str | None = Field(
        None, description="When a run last started or ended in it; RFC 3339.", examples=[_TIME]
    )
    created_at: str = Field(description="When it was created; RFC 3339.", examples=[_TIME])
    size_bytes: int | None = Field(None, description="Its disk usage; absent if it was not measured yet.")


class SessionsView(AnswerShape):
    """A part of the sessions of a namespace, the newest first."""

    sessions: list[SessionInfo]
    limit: int = Field(description="The most sessions in this answer.")
    offset: int = Field(description="How many newer ones were left out.")
    has_more: bool = Field(description="Whether there are older ones.")


class DeleteSessionAnswer(AnswerShape):
    """A session that was deleted."""

    success: Literal[True] = True
    session_id: str = Field(examples=[_SESSION_ID])


class ContentBlock(AnswerShape):
    """A part of what was said."""

    type: str = Field(description="text, tool_use, tool_result, thinking, image or document.", examples=["text"])
    text: str | None = Field(None, description="With `text`: what was said.")
    id: str | None = Field(None, description="With `tool_use`: the ID of this use.")
    name: str | None = Field(None, description="With `tool_use`: the tool.", examples=["Bash"])
    input: dict[str, Any] | None = Field(None, description="With `tool_use`: what the tool was given.")
    tool_use_id: str | None = Field(None, description="With `tool_result`: the ID of the use.")
    content: str | None = Field(None, description="With `tool_result`: what the tool answered.")
    is_error: bool | None = Field(None, description="With `tool_result`: whether the tool failed.")


class MessageUsage(AnswerShape):
    """The tokens of one answer of the model."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class MessageContent(AnswerShape):
    """What was said, by whom."""

    role: str = Field(description="user or assistant.", examples=["assistant"])
    model: str | None = Field(None, description="The model, if it said it.")
    message_id: str | None = Field(None, description="The Messages API's ID of it.")
    content: list[ContentBlock]
    stop_reason: str | None = Field(None, description="Why the model stopped.", examples=["end_turn"])
    usage: MessageUsage | None = None


class ToolResult(AnswerShape):
    """What a command of a tool has printed."""

    stdout: str
    stderr: str
    interrupted: bool = Field(description="Whether the command was interrupted.")
    is_image: bool = Field(description="Whether it has printed an image.")


class Message(AnswerShape):
    """One message of a conversation, as the CLI has recorded it."""

    uuid: str = Field(examples=[_UUID])
    type: Literal["user", "assistant"] = Field(description="What tools answer is of the user, too.")
    parent_uuid: str | None = Field(
        None, description="The message before it, or one of the CLI's own notes, which are not among the messages."
    )
    session_id: str = Field(description="The session.", examples=[_SESSION_ID])
    cwd: str | None = Field(None, description="The working directory.", examples=["/workspace"])
    git_branch: str | None = Field(None, description="The branch there.", examples=["main"])
    permission_mode: str | None = Field(None, description="The permission mode.", examples=["plan"])
    timestamp: str | None = Field(None, description="When it was said; RFC 3339.", examples=[_TIME])
    version: str | None = Field(None, description="The CLI's version.", examples=["2.1.331"])
    content: MessageContent
    tool_result: ToolResult | None = Field(None, description="What a command has printed, if it is a tool's answer.")
    truncated: bool | None = Field(
        None, description="Whether some of it is left out; `/messages/{message_id}` has more of it, up to 2 MiB."
    )


class MessagesAnswer(AnswerShape):
    """A part of a conversation, the oldest message first."""

    messages: list[Message]
    total: int = Field(description="How many messages there are.")
    limit: int = Field(description="The most messages in this answer.")
    offset: int = Field(description="How many older ones were left out.")
    has_more: bool = Field(description="Whether there are newer ones.")


class MessageAnswer(AnswerShape):
    """One message."""

    message: Message
