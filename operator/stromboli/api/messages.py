"""The route of a session's messages.

    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/agentsessions/NAME/messages
        ?full=true      entries of the CLI's record, with all that it says of them, instead of messages for people
        &offset=N       after so many, counted from the oldest
        &limit=N        at most so many
        &uuid=UUID      instead of both: the one of that id, if there is one

Reading a conversation is in `node.conversations`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from aiohttp import web

from stromboli.api.answers import json_answer
from stromboli.api.errors import Declined
from stromboli.api.line import Line
from stromboli.models.session import Session
from stromboli.naming import AGENTS_API, is_namespace, is_object_name
from stromboli.node.conversations import Conversation, History
from stromboli.plan.history import MAX_ID, MOST, Wanted

READ_SECONDS = 50.0  # for one conversation, including the wait for other readers; the API server gives up after 60
AT_ONCE = 2  # conversations read concurrently; each may take tens of MiB of memory
_ROUTE = f"{AGENTS_API}/namespaces/{{namespace}}/agentsessions/{{name}}/messages"

# The AgentSession by (namespace, name); None if it does not exist. Raises ClusterUnavailable.
Lookup = Callable[[str, str], Awaitable[Session | None]]
Found = TypeVar("Found")
_FULL = ("offset", "limit", "uuid")
_NUMBER = 2**31  # numbers have to be below


class Reader(Protocol):
    """What `node.conversations.Conversations` does. Raises PodmanError, PodmanUnavailable."""

    async def read(self, session_uid: str, conversation: str, image_id: str) -> Conversation | None: ...

    async def entries(self, session_uid: str, conversation: str, image_id: str, wanted: Wanted) -> History | None: ...


class Messages:
    """Serves a session's messages."""

    def __init__(self, lookup: Lookup, reader: Reader) -> None:
        self._lookup = lookup
        self._reader = reader
        self._readers = Line(AT_ONCE)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(_ROUTE, self._messages, allow_head=False)

    async def _messages(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not is_namespace(namespace) or not is_object_name(name):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        wanted = _wanted(request.query)
        session = await self._lookup(namespace, name)
        if session is None:
            raise Declined(404, f"the namespace {namespace} has no AgentSession {name}")
        about = {"session": name, "conversation": session.status.conversation}
        if wanted is None:
            found = await self._read(session, name, self._reader.read)
            messages = [message.to_json() for message in found.messages]
            return json_answer(200, {**about, "truncated": found.truncated, "messages": messages})
        history = await self._read(session, name, partial(self._reader.entries, wanted=wanted))
        entries = [entry.json for entry in history.entries]
        return json_answer(200, {**about, "truncated": history.truncated, "total": history.total, "entries": entries})

    async def _read(
        self, session: Session, name: str, read: Callable[[str, str, str], Awaitable[Found | None]]
    ) -> Found:
        conversation, image = session.status.conversation, session.status.image
        found = None
        if _is_uuid(conversation):
            try:
                async with asyncio.timeout(READ_SECONDS), self._readers:
                    found = await read(session.uid, conversation, image)
            except TimeoutError as late:
                message = f"reading the conversation took more than {READ_SECONDS:.0f} s; try again"
                raise Declined(503, message) from late
        if found is None:
            raise Declined(404, f"the session {name} has no conversation on this node; its first run starts one")
        return found


def _wanted(query: Mapping[str, str]) -> Wanted | None:
    """Which entries are wanted; None if messages are."""
    if (full := query.get("full", "false")) not in ("true", "false"):
        raise Declined(400, "the parameter `full` must be true or false")
    if full == "false":
        if given := next((name for name in _FULL if name in query), None):
            raise Declined(400, f"the parameter `{given}` needs `full=true`")
        return None
    if "uuid" in query:
        if "offset" in query or "limit" in query or not 0 < len(query["uuid"]) <= MAX_ID:
            raise Declined(400, f"the parameter `uuid` must have 1 to {MAX_ID} characters, and excludes the others")
        return Wanted(uuid=query["uuid"])
    return Wanted(_number(query, "offset", 0, _NUMBER, 0), _number(query, "limit", 1, MOST + 1, MOST))


def _number(query: Mapping[str, str], name: str, least: int, end: int, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) < end):
        raise Declined(400, f"the parameter `{name}` must be a whole number from {least} to {end - 1}")
    return int(text)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
