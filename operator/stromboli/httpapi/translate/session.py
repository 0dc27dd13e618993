"""An AgentSession as a session, and what the read API says of its conversation as messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.grammar import times
from stromboli.httpapi.shapes.session import (
    ContentBlock,
    Message,
    MessageContent,
    MessageUsage,
    SessionInfo,
    ToolResult,
)
from stromboli.models.objects import fields, number, text
from stromboli.models.session import Session

Json = Mapping[str, Any]


def session(found: Session) -> SessionInfo:
    """The session as it is now."""
    status = found.status
    return SessionInfo(
        id=found.name,
        title=text(found.spec.get("title")) or None,
        state=status.reason or None,
        node=status.node or None,
        image=text(fields(found.spec.get("template")).get("image")) or None,
        runs=number(status.wire.get("runs")),
        current_run=status.current_run.name if status.current_run is not None else None,
        forked_from=found.parent or None,
        last_used=None if status.last_used is None else times.to_text(status.last_used),
        created_at=found.created,
        size_bytes=status.size,
    )


def message(entry: Json, session_id: str) -> Message:
    """An entry of a conversation (plan/history.py). Raises ValueError, LookupError or TypeError for anything else."""
    content, result = entry["content"], entry["toolResult"]
    return Message(
        uuid=entry["uuid"],
        type=entry["type"],
        parent_uuid=entry["parentUUID"] or None,
        session_id=session_id,
        cwd=entry["cwd"] or None,
        git_branch=entry["gitBranch"] or None,
        permission_mode=entry["permissionMode"] or None,
        timestamp=entry["timestamp"],
        version=entry["version"] or None,
        content=MessageContent(
            role=content["role"],
            model=content["model"] or None,
            message_id=content["messageID"] or None,
            content=[_block(block) for block in content["blocks"]],
            stop_reason=content["stopReason"] or None,
            usage=None if content["usage"] is None else _usage(content["usage"]),
        ),
        tool_result=None if result is None else _result(result),
        truncated=entry["truncated"] or None,
    )


def _block(block: Json) -> ContentBlock:
    return ContentBlock(
        type=block["type"],
        text=block.get("text"),
        id=block.get("id"),
        name=block.get("name"),
        input=block.get("input"),
        tool_use_id=block.get("toolUseID"),
        content=block.get("content"),
        is_error=block.get("isError"),
    )


def _usage(used: Json) -> MessageUsage:
    return MessageUsage(
        input_tokens=used["inputTokens"],
        output_tokens=used["outputTokens"],
        cache_creation_input_tokens=used["cacheCreationInputTokens"],
        cache_read_input_tokens=used["cacheReadInputTokens"],
    )


def _result(result: Json) -> ToolResult:
    return ToolResult(
        stdout=result["stdout"],
        stderr=result["stderr"],
        interrupted=result["interrupted"],
        is_image=result["isImage"],
    )
