"""The read API's HTTPS side: how it is served, and the route of a session's messages.

    GET /apis/stromboli.dev/v1alpha1/namespaces/NAMESPACE/agentsessions/NAME/messages

The routes of images are in `images`. Authorization is in `authorise`, reading a conversation in `node.conversations`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from stromboli.api import address, listener
from stromboli.api.answers import NAMESPACE, Document, errors_as_json, json_answer
from stromboli.api.authorise import Asked, Authorizer
from stromboli.api.certificate import Certificate, server_context
from stromboli.api.errors import Declined
from stromboli.api.images import Finder, ImageRoutes
from stromboli.errors import InvalidSettings
from stromboli.kube.reviews import Access
from stromboli.models.session import Session
from stromboli.naming import GROUP, VERSION
from stromboli.node.conversations import Conversation

log = logging.getLogger(__name__)

READ_SECONDS = 60.0  # for one conversation, including the wait for other readers
AT_ONCE = 2  # conversations read concurrently; each may take tens of MiB of memory
_SHUTDOWN_SECONDS = 1.0
_KEEP_ALIVE = 5.0  # seconds between two requests on a connection
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_ROUTE = f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/agentsessions/{{name}}/messages"
# A Kubernetes name (RFC 1123). It becomes part of a path to the API server, so anything else is rejected.
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

# The AgentSession by (namespace, name); None if it does not exist. Raises ClusterUnavailable.
Lookup = Callable[[str, str], Awaitable[Session | None]]
# A session's conversation by (UID, conversation id, image id). Raises PodmanError, PodmanUnavailable.
Read = Callable[[str, str, str], Awaitable[Conversation | None]]


@asynccontextmanager
async def serving(
    *,
    reviews: Asked,
    lookup: Lookup,
    read: Read,
    discovery: Finder,
    home: Path,
    certificate: Certificate,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve inside the block, with the address in `api.json` in `home`. Yields the URL. Port 0 picks a free one.

    Raises InvalidSettings if the operator cannot listen on the address.
    """
    authorizer = Authorizer(reviews)
    app = web.Application(middlewares=[errors_as_json])
    Messages(authorizer, lookup, read).add_to(app.router)
    ImageRoutes(authorizer, discovery).add_to(app.router)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        async with _listening(runner, host, port, certificate) as url:
            try:
                _publish(home, address.Address(url, certificate.authority))
                yield url
            finally:
                address.remove(home)
    finally:
        await runner.cleanup()


def _publish(home: Path, where: address.Address) -> None:
    """Write `api.json`, best effort: only the command line needs it, so a full disk must not stop the operator."""
    try:
        address.write(home, where)
        log.info("the read API is at %s", where.url)
    except OSError as error:
        log.warning("the read API is at %s, but %s cannot be written: %s", where.url, address.FILE, error.strerror)


@asynccontextmanager
async def _listening(runner: web.AppRunner, host: str, port: int, certificate: Certificate) -> AsyncIterator[str]:
    """Listen inside the block. Yields the URL. Raises InvalidSettings."""
    assert runner.server is not None, "the runner was set up"
    async with AsyncExitStack() as stack:
        try:
            context = server_context(certificate)
            taken = await stack.enter_async_context(listener.listening(runner.server, host, port, context))
        except OSError as e:
            raise InvalidSettings(
                f"cannot listen on {host}:{port} ({e.strerror}); choose another address", "STROMBOLI_API_ADDRESS"
            ) from e
        reached = _EVERYWHERE.get(host, host)
        yield f"https://{f'[{reached}]' if ':' in reached else reached}:{taken}"


class Messages:
    """Serves a session's messages to users whom the cluster authorizes."""

    def __init__(self, authorizer: Authorizer, lookup: Lookup, read: Read) -> None:
        self._authorizer = authorizer
        self._lookup = lookup
        self._read = read
        self._readers = asyncio.Semaphore(AT_ONCE)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(_ROUTE, self._messages, allow_head=False)

    async def _messages(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not NAMESPACE.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        access = Access("get", GROUP, "agentsessions", "messages", namespace, name)
        await self._authorizer.admit(request.headers.get("Authorization"), access)
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
