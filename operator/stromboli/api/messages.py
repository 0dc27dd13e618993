"""The route of a session's messages.

    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/agentsessions/NAME/messages

Reading a conversation is in `node.conversations`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from stromboli.api.answers import Document, json_answer
from stromboli.api.errors import Declined
from stromboli.api.line import Line
from stromboli.models.session import Session
from stromboli.naming import AGENTS_API, is_namespace, is_object_name
from stromboli.node.conversations import Conversation

READ_SECONDS = 50.0  # for one conversation, including the wait for other readers; the API server gives up after 60
AT_ONCE = 2  # conversations read concurrently; each may take tens of MiB of memory
_ROUTE = f"{AGENTS_API}/namespaces/{{namespace}}/agentsessions/{{name}}/messages"

# The AgentSession by (namespace, name); None if it does not exist. Raises ClusterUnavailable.
Lookup = Callable[[str, str], Awaitable[Session | None]]
# A session's conversation by (UID, conversation id, image id). Raises PodmanError, PodmanUnavailable.
Read = Callable[[str, str, str], Awaitable[Conversation | None]]


class Messages:
    """Serves a session's messages."""

    def __init__(self, lookup: Lookup, read: Read) -> None:
        self._lookup = lookup
        self._read = read
        self._readers = Line(AT_ONCE)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(_ROUTE, self._messages, allow_head=False)

    async def _messages(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not is_namespace(namespace) or not is_object_name(name):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        session = await self._lookup(namespace, name)
        if session is None:
            raise Declined(404, f"the namespace {namespace} has no AgentSession {name}")
        return json_answer(200, await self._document(session, name))

    async def _document(self, session: Session, name: str) -> Document:
        conversation, image = session.status.conversation, session.status.image
        found = None
        if _is_uuid(conversation):
            try:
                async with asyncio.timeout(READ_SECONDS), self._readers:
                    found = await self._read(session.uid, conversation, image)
            except TimeoutError as late:
                message = f"reading the conversation took more than {READ_SECONDS:.0f} s; try again"
                raise Declined(503, message) from late
        if found is None:
            raise Declined(404, f"the session {name} has no conversation on this node; its first run starts one")
        return {
            "session": name,
            "conversation": conversation,
            "truncated": found.truncated,
            "messages": [message.to_json() for message in found.messages],
        }


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
