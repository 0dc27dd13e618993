"""The few calls to the API server that the operator makes, on lightkube. faults.py maps the errors.

A lookup answers the object or None (the server said that it is not there); when nothing is known,
ClusterUnavailable is raised. A write that lost a race raises Conflict.

AgentRuns and AgentSessions may be large and many: lists of them come in small pages, and as outlines (outline.py).
Names that end up in a path are checked first, whoever wrote them: what cannot be a name is the name of nothing.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType
from yaml import YAMLError

from stromboli import bounds
from stromboli.errors import ClusterUnavailable, Conflict, InvalidSettings, Oversized, Rejected
from stromboli.kube import outline, versions, wire
from stromboli.kube.faults import code, refused, unavailable
from stromboli.kube.outline import Page
from stromboli.kube.plain import Kind, Plain
from stromboli.kube.room import Room
from stromboli.kube.versions import Operations
from stromboli.naming import API_VERSION, GROUP, VERSION, is_object_name

AgentRun = create_namespaced_resource(GROUP, VERSION, "AgentRun", "agentruns")
AgentSession = create_namespaced_resource(GROUP, VERSION, "AgentSession", "agentsessions")
AgentPolicy = create_global_resource(GROUP, VERSION, "AgentPolicy", "agentpolicies")
Namespace = create_global_resource("", "v1", "Namespace", "namespaces")
ConfigMap = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
Secret = create_namespaced_resource("", "v1", "Secret", "secrets")
Event = create_namespaced_resource("", "v1", "Event", "events")

WATCHED = ("agentruns", "agentsessions", "agentpolicies")
READS = 8  # runs and sessions that are read at once
WHOLE = 16 * 1024 * 1024  # bytes that large runs in hand may take together, as Python objects
# Bytes of JSON of a run's spec. etcd takes 1.5 MiB by default, of which annotations may take 256 KiB: the rest is for
# the status, without which the run could neither be started nor ended.
MAX_SPEC = 1152 * 1024
TRIES = 4  # of a write that loses to others who write metadata only, before it is made as a patch
T = TypeVar("T")
Object = dict[str, Any]
Write = Callable[[Mapping[str, Any]], Awaitable[Object]]
Look = Callable[[str, str], Awaitable[Object | None]]
Patch = Callable[[], Awaitable[Object]]
Decode = Callable[[bytes], Page]
Ask = Callable[[Mapping[str, str]], Awaitable[bytes]]


class Cluster:
    """The API server, for one operator process. Find it as kubectl does (in-cluster, KUBECONFIG)."""

    def __init__(self) -> None:
        """Raises InvalidSettings where there is nothing that says where the API server is."""
        try:
            self._client = wire.client()
        except (ConfigError, OSError) as e:
            raise InvalidSettings(f"leads to no cluster ({e}); name a kubeconfig file", "KUBECONFIG") from e
        except (YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:  # lightkube trusts its shape
            raise InvalidSettings("names a file that is no kubeconfig; name one that is", "KUBECONFIG") from e
        self._plain = Plain(self._client.config)
        self._reads = asyncio.Semaphore(READS)
        self._room = Room(WHOLE)

    async def close(self) -> None:
        await self._plain.close()
        await self._client.close()

    @property
    def client(self) -> AsyncClient:
        """The connection itself, for reviews.py."""
        return self._client

    async def installation(self) -> str:
        """The UID of the kube-system namespace: which cluster this is."""
        found = await self._present(self._client.get(Namespace, "kube-system"))
        if found is None:
            raise ClusterUnavailable("the cluster has no kube-system namespace yet")
        return str(found["metadata"]["uid"])

    async def serves_its_kinds(self) -> None:
        """Raises ClusterUnavailable until the API server's discovery lists every kind that is watched.

        An API server that has just started answers for a kind before its discovery lists it; and kopf watches
        what discovery lists at its start, once.
        """
        try:
            ask = self._plain.document
            groups, kinds = map(_told, await asyncio.gather(ask("/apis"), ask(f"/apis/{GROUP}/{VERSION}")))
            found = {group["name"] for group in groups["groups"]}
            found |= {kind["name"] for kind in kinds["resources"]}
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as e:
            raise unavailable(e) from e
        if missing := {GROUP, *WATCHED} - found:
            raise ClusterUnavailable(f"the API server does not list {', '.join(sorted(missing))} yet")

    async def run(self, namespace: str, name: str) -> Object | None:
        """A run: all of it where it is small, else its outline."""
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
            return None if content is None else _decoded(outline.small, content)

    @asynccontextmanager
    async def whole_run(self, namespace: str, name: str) -> AsyncIterator[Object | None]:
        """A run with all of its spec, for the block: of large ones only a few are in hand at a time.

        Raises Oversized.
        """
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
        if content is None or len(content) <= outline.SMALL:
            yield None if content is None else _decoded(outline.whole, content)
            return
        if (size := _decoded(outline.spec_size, content)) > MAX_SPEC:
            raise Oversized(f"is {size} bytes of JSON, and at most {MAX_SPEC} leave room for a status")
        cost = outline.cost(content)
        del content  # it is read again once it is this one's turn
        async with self._room.taken(cost):
            async with self._reads:
                content = await self._content(AgentRun, namespace, name)
                obj = None if content is None else _decoded(outline.whole, content)
                del content
            yield obj

    async def runs(self) -> AsyncIterator[Object]:
        """The outline of every AgentRun of the cluster, to the last one or not at all: a broken list raises."""
        async for item in self._paged(partial(self._plain.list, AgentRun), outline.page):
            yield item

    async def run_heads(self, namespace: str, session: str) -> list[Object]:
        """The metadata of every AgentRun that names a session, or forks it, whatever has become of it."""
        found: list[Object] = []
        for path in ("spec.session.name", "spec.session.fork") if is_object_name(session) else ():
            ask = partial(self._plain.heads, AgentRun, namespace=namespace)
            pages = self._paged(ask, outline.heads, {"fieldSelector": f"{path}={session}"})
            found += [item async for item in pages]
        return found

    async def session(self, namespace: str, name: str) -> Object | None:
        async with self._reads:
            return await self._present(self._client.get(AgentSession, name, namespace=namespace), namespace, name)

    async def session_outline(self, namespace: str, name: str) -> Object | None:
        """A session without its template."""
        async with self._reads:
            content = await self._content(AgentSession, namespace, name)
            return None if content is None else _decoded(outline.of, content)

    async def sessions(self) -> AsyncIterator[Object]:
        """The outline of every AgentSession of the cluster, to the last one or not at all: a broken list raises."""
        async for item in self._paged(partial(self._plain.list, AgentSession), outline.page):
            yield item

    async def policies(self) -> list[Object]:
        """Every AgentPolicy; never part of them."""
        try:
            return [dict(item) async for item in self._client.list(AgentPolicy)]
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            raise unavailable(e) from e

    async def namespace_labels(self, name: str) -> Mapping[str, str]:
        found = await self._present(self._client.get(Namespace, name), name)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return {str(k): str(v) for k, v in labels.items()}

    async def config_map_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """All of a ConfigMap's data, or None where it is missing."""
        found = await self._present(self._client.get(ConfigMap, name, namespace=namespace), namespace, name)
        if found is None:
            return None
        texts = {str(k): str(v).encode() for k, v in (found.get("data") or {}).items()}
        return texts | _bytes(found.get("binaryData"))

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """All of a Secret's data, or None where it is missing."""
        found = await self._present(self._client.get(Secret, name, namespace=namespace), namespace, name)
        return None if found is None else _bytes(found.get("data"))

    async def write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a run's status as of the version that `obj` is; the new object. Raises Conflict, Rejected.

        A PUT and not a merge patch, in which a null inside a structured answer would mean "remove". Where somebody
        has changed nothing but metadata meanwhile, it is written as of the new version.
        """

        async def write(current: Mapping[str, Any]) -> Object:
            body = versions.body("AgentRun", current, {}, status)
            meta = body["metadata"]
            call = self._plain.replace(AgentRun.Status, meta["name"], body, namespace=meta["namespace"])
            written = await self._written(f"the status of AgentRun {meta['name']}", call)
            return stored(written)

        async def patch() -> Object:
            meta, operations = obj["metadata"], versions.patch(obj, "status", status)
            call = self._plain.patch(AgentRun.Status, meta["name"], operations, namespace=meta["namespace"])
            return stored(await self._patched(f"the status of AgentRun {meta['name']}", call))

        def stored(written: bytes) -> Object:
            as_stored: Object = msgspec.json.decode(msgspec.json.encode(status))
            return {**obj, "metadata": _decoded(outline.head, written), "status": as_stored}

        return await self._guarded(obj, write, self.run, patch)

    async def write_session_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a session's status, as `write_status` does a run's."""

        async def write(current: Mapping[str, Any]) -> Object:
            body = versions.body("AgentSession", current, {}, status)
            meta = body["metadata"]
            call = self._client.replace(AgentSession.Status.from_dict(body), meta["name"], namespace=meta["namespace"])
            return dict(await self._written(f"the status of AgentSession {meta['name']}", call))

        async def patch() -> Object:
            return await self._patched_session(AgentSession.Status, obj, versions.patch(obj, "status", status))

        return await self._guarded(obj, write, self.session, patch)

    async def write_policy_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a policy's status, as `write_status` does a run's."""
        body = versions.body("AgentPolicy", obj, obj.get("spec") or {}, status)
        name = body["metadata"]["name"]
        call = self._client.replace(AgentPolicy.Status.from_dict(body), name)
        return dict(await self._written(f"the status of AgentPolicy {name}", call))

    async def write_session_spec(self, obj: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
        """Replace a session's spec as of the version that `obj` is, as `write_status` does; the new object."""

        async def write(current: Mapping[str, Any]) -> Object:
            body = versions.body("AgentSession", current, spec, obj.get("status") or {})
            meta = body["metadata"]
            call = self._client.replace(AgentSession.from_dict(body), meta["name"], namespace=meta["namespace"])
            return dict(await self._written(f"the spec of AgentSession {meta['name']}", call))

        async def patch() -> Object:
            return await self._patched_session(AgentSession, obj, versions.patch(obj, "spec", spec))

        return await self._guarded(obj, write, self.session, patch)

    async def create_session(self, namespace: str, name: str, spec: Mapping[str, Any]) -> Object:
        """Make a session; as it is stored. Raises Conflict where there is one, Rejected."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "AgentSession",
            "metadata": {"name": name, "namespace": namespace},
            "spec": dict(spec),
        }
        call = self._client.create(AgentSession.from_dict(body))
        return dict(await self._written(f"a new AgentSession {name}", call))

    async def delete_session(self, namespace: str, name: str) -> None:
        """Delete a session; one that is gone is no error."""
        try:
            call = self._client.delete(AgentSession, name, namespace=namespace)
            await self._written(f"the deletion of AgentSession {name}", call)
        except Conflict:
            return

    async def post_event(self, event: Mapping[str, Any]) -> None:
        """Write a Kubernetes event; one of the same name is the same event and stays as it is."""
        call = self._client.create(Event.from_dict(dict(event)))
        try:
            await self._written(f"an event {event['reason']}", call)
        except Conflict:
            return

    async def _guarded(self, obj: Mapping[str, Any], write: Write, look: Look, patch: Patch) -> Object:
        """Write as of the version that was read, or as of a later one that differs in nothing but metadata.

        Somebody who patches labels all the time may be quicker each time: then the API server itself compares, and
        writes, in one patch, which no change of metadata can overtake.
        """
        current, meta = obj, obj["metadata"]
        for _ in range(TRIES):
            try:
                return await write(current)
            except Conflict:
                found = await look(meta["namespace"], meta["name"])
                if found is None or not versions.is_as_read(obj, found) or versions.of(found) == versions.of(current):
                    raise
                current = found
        return await patch()

    async def _patched_session(self, part: Kind, obj: Mapping[str, Any], operations: Operations) -> Object:
        meta = obj["metadata"]
        call = self._client.patch(
            part, meta["name"], list(operations), namespace=meta["namespace"], patch_type=PatchType.JSON
        )
        written: Any = await self._patched(f"AgentSession {meta['name']}", call)
        return dict(written)

    async def _patched(self, what: str, call: Awaitable[T]) -> T:
        """What a patch of versions.py answers. The API server has one answer for a test that fails and a value that
        it refuses: it is a conflict here, after which the object is read, and the refusal comes to the next PUT.
        """
        try:
            return await self._written(what, call)
        except Rejected as e:
            raise Conflict(str(e)) from e

    async def _paged(self, ask: Ask, decode: Decode, select: Mapping[str, str] | None = None) -> AsyncIterator[Object]:
        """All that the pages of a list have, to the last one or not at all."""
        query = dict(select or {})
        while True:
            try:
                content = await ask(query)
            except httpx2.HTTPError as e:
                raise unavailable(e) from e
            page = _decoded(decode, content)
            del content
            for item in page.items:
                yield item
            if not page.more:
                return
            query["continue"] = page.more

    async def _content(self, kind: Kind, namespace: str, name: str) -> bytes | None:
        """An object in bytes; None where it is not there."""
        if not (is_object_name(namespace) and is_object_name(name)):
            return None
        try:
            return await self._plain.get(kind, name, namespace=namespace)
        except httpx2.HTTPError as e:
            if code(e) == 404:
                return None
            raise unavailable(e) from e

    async def _present(self, call: Coroutine[Any, Any, Any], *names: str) -> Object | None:
        """What a lookup by these names finds."""
        if not all(map(is_object_name, names)):
            call.close()
            return None
        try:
            return dict(await call)
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            if code(e) == 404:
                return None
            raise unavailable(e) from e

    async def _written(self, what: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            raise refused(what, e) from e


def _told(content: bytes) -> Any:
    """What an answer of discovery says; extensions of the cluster have their part in it."""
    return bounds.json_document(content, bounds.ANSWER)


def _decoded(decode: Callable[[bytes], T], content: bytes) -> T:
    """What the bytes say. Cutting them takes longer than skipping what is large, and few are too deep to be skipped."""
    try:
        try:
            return decode(content)
        except RecursionError:
            return decode(bounds.cut_json(content))
    except ValueError as e:
        raise unavailable(e) from e


def _bytes(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {str(key): base64.b64decode(text or "") for key, text in (data or {}).items()}
