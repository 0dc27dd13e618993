"""GET /sessions, DELETE /sessions/{id}, and the messages of a session: each is an AgentSession of the namespace.

A conversation is on the session's node, and comes from the read API, which has cut and masked it: an agent may have
written anything there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from stromboli import naming
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi import listing
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.errors import Refusal, errors_of
from stromboli.httpapi.listing import MOST, Limit, Line, Offset
from stromboli.httpapi.shapes.session import (
    DeleteSessionAnswer,
    Message,
    MessageAnswer,
    MessagesAnswer,
    SessionInfo,
    SessionsAnswer,
    SessionsView,
)
from stromboli.httpapi.translate import session as translate
from stromboli.kube import objects, readapi
from stromboli.kube.rows import Row
from stromboli.kube.user import RUNS, SESSIONS, Resource
from stromboli.models.session import Session
from stromboli.plan.history import MAX_ID
from stromboli.reasons import RunCondition

router = APIRouter(tags=["sessions"])

_AT_ONCE = 4  # sessions that are read at a time
_MESSAGES = Resource("agentsessions", naming.AGENTS_GROUP, naming.VERSION)
_NOT_FOUND = 404

Id = Annotated[str, Path(description="The session's ID.", examples=["5b9d2c4e-8a1f-4c3d-9e7a-1f2b3c4d5e6f"])]
MessageId = Annotated[str, Path(description="The message's UUID.", examples=["92242819-b7d1-48d4-b023-6134c3e9f63a"])]


@router.get("/sessions", summary="Look at sessions", response_model_exclude_none=True)
async def list_sessions(
    caller: CallerOf,
    line: Line,
    view: Annotated[
        Literal["ids", "full"], Query(description="`full` answers with what is known of each session.")
    ] = "ids",
    limit: Limit = 100,
    offset: Offset = 0,
) -> SessionsAnswer | SessionsView:
    """The sessions of the namespace, the newest first: the IDs of all, or a part of them with what is known of each."""
    async with listing.turn(line):
        rows = [row async for row in listing.rows(caller, SESSIONS)]
        rows.sort(key=lambda row: (row.created, row.name), reverse=True)
        if view == "ids":
            return SessionsAnswer(sessions=[row.name for row in rows])
        most = min(limit, MOST)
        chosen = await _infos(caller, rows[offset:][:most])
    return SessionsView(sessions=chosen, limit=most, offset=offset, has_more=len(rows) > offset + most)


@router.delete("/sessions/{id}", summary="Delete a session", responses=errors_of(404))
async def delete_session(caller: CallerOf, id: Id) -> DeleteSessionAnswer:
    """Everything in it is removed: its container, and its conversation. A run that is using it is canceled."""
    if not naming.is_object_name(id):
        raise _unknown(caller, id)
    try:
        await caller.cluster.delete(SESSIONS, caller.namespace, id)
    except ApiRefused as e:
        if e.status == _NOT_FOUND:
            raise _unknown(caller, id) from e
        raise
    return DeleteSessionAnswer(session_id=id)


@router.get(
    "/sessions/{id}/messages",
    summary="Read a conversation",
    response_model_exclude_none=True,
    responses=errors_of(404),
)
async def list_messages(caller: CallerOf, id: Id, limit: Limit = 50, offset: Offset = 0) -> MessagesAnswer:
    """What was said in a session, the oldest first; nothing before its first run has begun."""
    most = min(limit, MOST)
    found, total = await _messages(caller, id, {"offset": str(offset), "limit": str(most)})
    more = offset + len(found) < total
    return MessagesAnswer(messages=found, total=total, limit=most, offset=offset, has_more=more)


@router.get(
    "/sessions/{id}/messages/{message_id}",
    summary="Read a message",
    response_model_exclude_none=True,
    responses=errors_of(404),
)
async def get_message(caller: CallerOf, id: Id, message_id: MessageId) -> MessageAnswer:
    """One message, with more of it than the list has where it is long."""
    found, _ = await _messages(caller, id, {"uuid": message_id[:MAX_ID]})
    if not found or found[0].uuid != message_id:
        raise Refusal(404, f"the session {id} has no message {message_id[:MAX_ID]}", details={"session_id": id})
    return MessageAnswer(message=found[0])


async def _infos(caller: Caller, rows: Sequence[Row]) -> list[SessionInfo]:
    """What is known of these sessions, without those that are gone meanwhile."""

    async def one(name: str) -> SessionInfo | None:
        found = await caller.cluster.find(SESSIONS, caller.namespace, name)
        return None if found is None else translate.session(objects.session(found))

    chosen: list[SessionInfo] = []
    for at in range(0, len(rows), _AT_ONCE):
        found = await asyncio.gather(*(one(row.name) for row in rows[at : at + _AT_ONCE]))
        chosen += [info for info in found if info is not None]
    return chosen


async def _messages(caller: Caller, name: str, part: Mapping[str, str]) -> tuple[list[Message], int]:
    """A part of a conversation, and how many messages it has. Raises Refusal (404), ApiRefused, ApiUnreachable."""
    session = await _session(caller, name)
    if session is None or not session.status.conversation:
        return [], 0
    path = _MESSAGES.path(caller.namespace, name, "messages")
    try:
        answer = await caller.cluster.document("GET", path, {"full": "true", **part})
    except ApiRefused as e:
        if e.status != _NOT_FOUND:
            raise
        if e.hint:  # it is the read API that is missing
            raise ApiUnreachable(e.message, e.hint) from e
        return [], 0  # its run has begun, but the CLI has not
    with readapi.valid(path):
        return [translate.message(entry, name) for entry in answer["entries"]], int(answer["total"])


async def _session(caller: Caller, name: str) -> Session | None:
    """The session; None if it is still to be made, by a run that has not ended. Raises Refusal (404)."""
    if naming.is_object_name(name):
        if (found := await caller.cluster.find(SESSIONS, caller.namespace, name)) is not None:
            return objects.session(found)
        async for row in listing.rows(caller, RUNS, RunCondition.Succeeded.name, fields=f"spec.session.name={name}"):
            if row.cells[0] not in ("True", "False"):
                return None
    raise _unknown(caller, name)


def _unknown(caller: Caller, name: str) -> Refusal:
    said = f"there is no session {name[:253]} in the namespace {caller.namespace}; GET /sessions lists all"
    return Refusal(404, said, details={"session_id": name[:253]})
