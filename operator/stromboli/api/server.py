"""The read API's HTTPS side: one route, its response, and every error as one sentence in JSON.

    GET /apis/stromboli.dev/v1alpha1/namespaces/NAMESPACE/agentsessions/NAME/messages

Authorization is in `authorise`, reading a conversation in `node.conversations`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from stromboli.api import address, listener
from stromboli.api.authorise import Asked, Authorizer
from stromboli.api.certificate import Certificate, server_context
from stromboli.api.errors import Declined
from stromboli.errors import ClusterUnavailable, InvalidSettings, PodmanError, PodmanUnavailable
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
# Kubernetes names (RFC 1123). They become part of a path to the API server, so anything else is rejected.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

Document = Mapping[str, Any]
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
    home: Path,
    certificate: Certificate,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve inside the block, with the address in `api.json` in `home`. Yields the URL. Port 0 picks a free one.

    Raises InvalidSettings if the operator cannot listen on the address.
    """
    runner = web.AppRunner(
        Messages(Authorizer(reviews), lookup, read).application(),
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

    def application(self) -> web.Application:
        """A fresh aiohttp application; the caller runs it."""
        app = web.Application(middlewares=[_errors_as_json])
        app.router.add_get(_ROUTE, self._messages, allow_head=False)
        return app

    async def _messages(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not _NAMESPACE.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        access = Access("get", GROUP, "agentsessions", "messages", namespace, name)
        await self._authorizer.admit(request.headers.get("Authorization"), access)
        session = await self._lookup(namespace, name)
        if session is None:
            raise Declined(404, f"the namespace {namespace} has no AgentSession {name}")
        return _json(200, await self._document(session, name))

    async def _document(self, session: Session, name: str) -> Document:
        conversation, image = session.status.conversation, session.status.image
        found = None
        if _is_uuid(conversation):
            async with asyncio.timeout(READ_SECONDS), self._readers:
                found = await self._read(session.uid, conversation, image)
        if found is None:
            raise Declined(404, f"the session {name} has no conversation on this node; its first run starts one")
        return {
            "session": name,
            "conversation": conversation,
            "truncated": found.truncated,
            "messages": [message.to_json() for message in found.messages],
        }


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns every error into its HTTP status and one sentence."""
    try:
        return await handler(request)
    except Declined as e:
        return _error(e.status, str(e))
    except (ClusterUnavailable, PodmanUnavailable, PodmanError) as e:
        log.warning("%s: %s", request.path, e)
        return _error(503, str(e))
    except TimeoutError:
        return _error(503, f"reading the conversation took more than {READ_SECONDS:.0f} s; try again")
    except web.HTTPException as e:  # raised by aiohttp: unknown path or method
        return _error(e.status, f"{request.method} {request.path} is not served here: {e.reason}")


def _error(status: int, sentence: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return _json(status, {"error": sentence}, headers)


def _json(status: int, body: Document, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    return web.Response(status=status, body=text, content_type="application/json", headers=headers)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
