"""The few calls to the API server that the operator makes, over plain.py. faults.py maps the errors.

A lookup returns the object, or None if the server says that it does not exist; if the server cannot be asked,
ClusterUnavailable is raised. A write that lost a race raises Conflict.

AgentRuns and AgentSessions can be large and numerous: they are listed in small pages, and as outlines (outline.py).
Names that become part of a path are validated first: an object whose name is not valid does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource

from stromboli.coalesced import Coalesced
from stromboli.errors import ClusterUnavailable, Conflict, HttpFailed, Oversized, Rejected
from stromboli.kube import answers, objects, outline, reads, versions
from stromboli.kube.faults import code, forbidden, refused, unavailable
from stromboli.kube.kinds import (
    AgentImageKind,
    AgentPolicy,
    AgentRun,
    AgentSession,
    ConfigMap,
    Event,
    Namespace,
    Secret,
)
from stromboli.kube.objects import K, Wire
from stromboli.kube.outline import MAX_SPEC, Page
from stromboli.kube.plain import HEADS, Kind, Observe, Plain, unobserved
from stromboli.kube.reads import decoded
from stromboli.kube.room import Room
from stromboli.models.agentsession import AgentSessionSpec
from stromboli.models.image import AgentImage
from stromboli.models.objects import Object, Status
from stromboli.models.policy import Policy
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.naming import API_VERSION, GROUP, VERSION, is_object_name

KINDS: Mapping[str, type[GenericNamespacedResource] | type[GenericGlobalResource]] = {
    Run.KIND: AgentRun,
    Session.KIND: AgentSession,
    AgentImage.KIND: AgentImageKind,
    Policy.KIND: AgentPolicy,
}
WATCHED = ("agentruns", "agentsessions", "agentimages", "agentpolicies")
READS = 8  # runs and sessions that are read concurrently
WHOLE = 16 * 1024 * 1024  # bytes of memory that large runs may take together, as Python objects
TRIES = 4  # of a write that loses to writers of metadata, before it is sent as a patch
# A write guarded by the object's version, and one whose preconditions the API server tests; each returns the metadata.
Write = Callable[[K], Awaitable[bytes]]
Patch = Callable[[], Awaitable[bytes]]
Decode = Callable[[bytes], Page]
Ask = Callable[[Mapping[str, str]], Awaitable[bytes]]


class Cluster:
    """The API server, for one operator process, found as kubectl finds it (in-cluster, KUBECONFIG)."""

    def __init__(self, observe: Observe = unobserved) -> None:
        """Raises InvalidSettings if nothing says where the API server is."""
        self._over(Plain.found(observe))

    def _over(self, plain: Plain) -> None:
        self._plain = plain
        self._reads = asyncio.Semaphore(READS)
        self._room = Room(WHOLE)
        # What every start reads, of which many may begin at the same moment.
        self._policies = Coalesced(self._read_policies)
        self._labels = Coalesced(self._read_labels)
        self._secrets = Coalesced(self._read_secret)

    async def close(self) -> None:
        await self._plain.close()

    @property
    def plain(self) -> Plain:
        """The connection itself, for system.py."""
        return self._plain

    async def installation(self) -> str:
        """The UID of the kube-system namespace, which identifies the cluster."""
        found = await self._content(Namespace, None, "kube-system")
        if found is None:
            raise ClusterUnavailable("the cluster has no kube-system namespace yet")
        return objects.head(decoded(outline.head, found)).uid

    async def serves_its_kinds(self) -> None:
        """Raises ClusterUnavailable until the API server's discovery lists every kind that is watched.

        An API server that has just started serves a kind before its discovery lists it, and kopf watches
        only what discovery lists when kopf starts.
        """
        try:
            paths = ("/apis", f"/apis/{GROUP}/{VERSION}")
            documents = await asyncio.gather(*map(self._plain.document, paths))
        except HttpFailed as e:
            raise unavailable(e) from e
        found = {name for document in documents for name in decoded(answers.discovered, document)}
        if missing := {GROUP, *WATCHED} - found:
            raise ClusterUnavailable(f"the API server does not list {', '.join(sorted(missing))} yet")

    async def run(self, namespace: str, name: str) -> Run | None:
        """A run: all of it if it is small, otherwise its outline."""
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
            return None if content is None else objects.run(decoded(outline.small, content))

    async def followed_run(self, namespace: str, name: str) -> Run | None:
        """A run without the large parts of its spec and status, but with its attempts, also after its end."""
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
            return None if content is None else objects.run(decoded(outline.followed, content))

    async def answered_run(self, namespace: str, name: str) -> Run | None:
        """A run without the large parts of its spec and status, but with its answer as text."""
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
            return None if content is None else objects.run(decoded(outline.answered, content))

    @asynccontextmanager
    async def whole_run(self, namespace: str, name: str) -> AsyncIterator[Run | None]:
        """A run with its whole spec, inside the block; only a few large ones are in memory at a time.

        Raises Oversized.
        """
        async with self._reads:
            content = await self._content(AgentRun, namespace, name)
        if content is None or len(content) <= outline.SMALL:
            yield None if content is None else objects.run(decoded(outline.whole, content))
            return
        if (size := decoded(outline.spec_size, content)) > MAX_SPEC:
            raise Oversized(f"is {size} bytes of JSON, and at most {MAX_SPEC} leave room for a status")
        cost = outline.cost(content)
        del content  # it is read again once there is room for it
        async with self._room.taken(cost):
            async with self._reads:
                content = await self._content(AgentRun, namespace, name)
                run = None if content is None else objects.run(decoded(outline.whole, content))
                del content
            yield run

    async def runs(self) -> AsyncIterator[Run]:
        """The outline of every AgentRun in the cluster; an incomplete list raises."""
        async for item in self._paged(partial(self._plain.list, AgentRun), outline.page):
            yield objects.run(item)

    async def run_heads(self, namespace: str, session: str) -> list[Object]:
        """The metadata of every AgentRun that names a session or forks it, finished or not."""
        found: list[Object] = []
        for path in ("spec.session.name", "spec.session.fork") if is_object_name(session) else ():
            ask = partial(self._plain.heads, AgentRun, namespace=namespace)
            pages = self._paged(ask, outline.heads, {"fieldSelector": f"{path}={session}"})
            found += [objects.head(item) async for item in pages]
        return found

    async def session(self, namespace: str, name: str) -> Session | None:
        async with self._reads:
            content = await self._content(AgentSession, namespace, name)
            return None if content is None else objects.session(decoded(outline.whole, content))

    async def session_outline(self, namespace: str, name: str) -> Session | None:
        """A session without its template."""
        async with self._reads:
            content = await self._content(AgentSession, namespace, name)
            return None if content is None else objects.session(decoded(outline.of, content))

    async def sessions(self) -> AsyncIterator[Session]:
        """The outline of every AgentSession in the cluster; an incomplete list raises."""
        async for item in self._paged(partial(self._plain.list, AgentSession), outline.page):
            yield objects.session(item)

    async def image(self, namespace: str, name: str) -> AgentImage | None:
        async with self._reads:
            content = await self._content(AgentImageKind, namespace, name)
            return None if content is None else objects.image(decoded(outline.whole, content))

    async def images(self) -> AsyncIterator[AgentImage]:
        """Every AgentImage in the cluster; an incomplete list raises."""
        async for item in self._paged(partial(self._plain.list, AgentImageKind), outline.page_whole):
            yield objects.image(item)

    async def policies(self) -> list[Policy]:
        """Every AgentPolicy; an incomplete list raises."""
        return await self._policies.get(None)

    async def _read_policies(self, _: None) -> list[Policy]:
        pages = self._paged(partial(self._plain.list, AgentPolicy), outline.page_whole, {"limit": str(HEADS)})
        return [objects.policy(item) async for item in pages]

    async def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace; none if it does not exist."""
        return await self._labels.get(name)

    async def has_namespace(self, name: str) -> bool:
        """Whether there is a namespace of that name."""
        return await self._content(Namespace, None, name) is not None

    async def _read_labels(self, name: str) -> Mapping[str, str]:
        found = await self._content(Namespace, None, name)
        return {} if found is None else decoded(answers.labels, found)

    async def config_map_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """All of a ConfigMap's data, or None if it does not exist."""
        found = await self._content(ConfigMap, namespace, name)
        return None if found is None else decoded(answers.config_map, found)

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """All of a Secret's data, or None if it does not exist."""
        return await self._secrets.get((namespace, name))

    async def _read_secret(self, place: tuple[str, str]) -> dict[str, bytes] | None:
        namespace, name = place
        found = await self._content(Secret, namespace, name)
        return None if found is None else decoded(answers.secret, found)

    async def write_status(self, obj: K, status: Status) -> K:
        """Replace an object's status, guarded by the version of `obj`; returns the new one. Raises Conflict, Rejected.

        A PUT and not a merge patch, in which a null inside a structured answer would mean "remove". If only metadata
        has changed in the meantime, the write is repeated with the new version.
        """
        kind, part = KINDS[obj.KIND].Status, f"the status of {obj.KIND} {obj.name}"

        async def write(current: K) -> bytes:
            body = versions.status(current, status.wire)
            return await _written(part, self._plain.replace(kind, obj.name, body, namespace=obj.namespace))

        async def patch() -> bytes:
            operations = versions.patch(obj, "status", status.wire)
            return await _patched(part, self._plain.patch(kind, obj.name, operations, namespace=obj.namespace))

        written = await self._guarded(obj, write, patch)
        return objects.with_status(obj, decoded(outline.head, written), _as_stored(status.wire))

    async def write_spec(self, obj: Session, spec: Mapping[str, Any]) -> Session:
        """Replace a session's spec, guarded by the version of `obj` as in `write_status`; returns the new one."""
        part = f"the spec of {obj.KIND} {obj.name}"

        async def write(current: Session) -> bytes:
            content = await self._content(AgentSession, current.namespace, current.name)
            metadata = {} if content is None else decoded(outline.metadata, content)
            if objects.head(metadata).version != current.version:
                raise Conflict(f"{part} has changed, or is gone")
            body = versions.spec(current, metadata, spec)
            return await _written(part, self._plain.replace(AgentSession, obj.name, body, namespace=obj.namespace))

        async def patch() -> bytes:
            operations = versions.patch(obj, "spec", spec)
            return await _patched(part, self._plain.patch(AgentSession, obj.name, operations, namespace=obj.namespace))

        written = await self._guarded(obj, write, patch)
        return objects.with_spec(obj, decoded(outline.head, written), _as_stored(spec))

    async def write_notification(self, run: Run, new: Wire) -> Run:
        """Replace what has become of a run's notification, guarded by what was read of it; returns the new run. The
        rest of its status, which is final, is not touched. Raises Conflict, Rejected, ClusterUnavailable.
        """
        operations = versions.notification(run, new)
        what = f"the notification of AgentRun {run.name}"
        try:
            written = await self._plain.patch(AgentRun.Status, run.name, operations, namespace=run.namespace)
        except HttpFailed as e:
            # 422 is what the API server says where a test has failed; the value is always a valid one
            raise Conflict(f"{what} has changed") if code(e) == 422 else refused(what, e) from e
        return objects.with_status(run, decoded(outline.head, written), {**run.status.wire, "notification": dict(new)})

    async def create_session(self, namespace: str, name: str, spec: AgentSessionSpec) -> Session:
        """Create a session; as it is stored. Raises Conflict where there is one, Rejected."""
        metadata = {"name": name, "namespace": namespace}
        body = {
            "apiVersion": API_VERSION,
            "kind": Session.KIND,
            "metadata": metadata,
            "spec": objects.session_spec(spec),
        }
        call = self._plain.create(AgentSession, body, namespace=namespace)
        return objects.session(decoded(outline.whole, await _written(f"a new AgentSession {name}", call)))

    async def delete_session(self, namespace: str, name: str) -> None:
        """Delete a session. Idempotent."""
        with contextlib.suppress(Conflict):
            call = self._plain.delete(AgentSession, name, namespace=namespace)
            await _written(f"the deletion of AgentSession {name}", call)

    async def delete_finished_run(self, namespace: str, name: str, uid: str, version: str) -> None:
        """Delete a run, if it is still the version that was read. Raises Conflict, Rejected, ClusterUnavailable.

        Conflict also means that it is gone. Rejected also means that this deletion is forbidden, as an admission policy
        may say of a single run: other runs may be deleted nevertheless.
        """
        conditions = {"uid": uid, "resourceVersion": version}
        call = self._plain.delete(AgentRun, name, namespace=namespace, preconditions=conditions)
        try:
            await call
        except HttpFailed as e:
            what = f"the deletion of AgentRun {namespace}/{name}"
            raise forbidden(what, e) if code(e) == 403 else refused(what, e) from e

    async def post_event(self, event: Wire) -> None:
        """Create a Kubernetes event, unless there is already one of that name."""
        with contextlib.suppress(Conflict):
            call = self._plain.create(Event, event, namespace=event["metadata"]["namespace"])
            await _written(f"an event {event['reason']}", call)

    async def _guarded(self, obj: K, write: Write[K], patch: Patch) -> bytes:
        """Write with the version that was read, or with a later one that differs only in metadata.

        A client that patches labels all the time can win every race. So the last try is a single patch in which the
        API server itself tests that the rest is unchanged, and which no change of metadata can overtake.
        """
        current = obj
        for _ in range(TRIES):
            try:
                return await write(current)
            except Conflict:
                found = await self._now(obj)
                if found is None or not versions.is_as_read(obj, found) or found.version == current.version:
                    raise
                current = found
        return await patch()

    async def _now(self, obj: K) -> K | None:
        """The object as it is now, without the large parts of its spec."""
        content = await self._content(KINDS[obj.KIND], obj.namespace or None, obj.name)
        return None if content is None else objects.another(obj, decoded(outline.of, content))

    async def _paged(self, ask: Ask, decode: Decode, select: Mapping[str, str] | None = None) -> AsyncIterator[Wire]:
        """The items of all pages of a list; an incomplete list raises."""
        query = dict(select or {})
        while True:
            try:
                content = await ask(query)
            except HttpFailed as e:
                raise unavailable(e) from e
            page = decoded(decode, content)
            del content
            for item in page.items:
                yield item
            if not page.more:
                return
            query["continue"] = page.more

    async def _content(self, kind: Kind, namespace: str | None, name: str) -> bytes | None:
        """An object in bytes; None if it does not exist. `namespace` is None for cluster-scoped kinds."""
        if not all(is_object_name(part) for part in (namespace, name) if part is not None):
            return None
        return await reads.content(self._plain, kind, namespace, name)


async def _written(what: str, call: Awaitable[bytes]) -> bytes:
    """The response to a write. Raises Conflict, Rejected, ClusterUnavailable."""
    try:
        return await call
    except (HttpFailed, UnicodeEncodeError) as e:
        raise refused(what, e) from e


async def _patched(what: str, call: Awaitable[bytes]) -> bytes:
    """The response to a patch of versions.py. The API server gives the same error for a failed test and for an invalid
    value. Both are a conflict here: the object is read again, and the next PUT then shows which it was.
    """
    try:
        return await _written(what, call)
    except Rejected as e:
        raise Conflict(str(e)) from e


def _as_stored(value: Wire) -> Wire:
    """What was sent, after a JSON round trip, as the server returns it."""
    found: Wire = msgspec.json.decode(msgspec.json.encode(value))
    return found
