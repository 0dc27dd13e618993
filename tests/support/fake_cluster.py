"""The API server without one: what `stromboli.kube.client.Cluster` does, answered from memory.

The contract tests hold it to what the real one does. A test puts objects in (`add_run`, `all_policies`, `secrets` …),
takes the server away (`away`), gets between a call and its answer (`guard`), and listens as a watch would (`watch`).
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec

from stromboli.errors import ClusterUnavailable, Conflict, Oversized, Rejected
from stromboli.kube import objects, outline, versions
from stromboli.kube.client import Cluster, Patch, Write
from stromboli.kube.objects import K
from stromboli.models.agentsession import AgentSessionSpec
from stromboli.models.image import AgentImage
from stromboli.models.objects import Object as Head
from stromboli.models.objects import Resource, Status
from stromboli.models.policy import Policy
from stromboli.models.run import Run
from stromboli.models.session import Session

Object = dict[str, Any]
# What etcd takes in one request by its defaults (--max-request-bytes).
MAX_OBJECT = 1_572_864
_NOW = "2026-01-01T12:00:00Z"
Listener = Callable[[str, Object], None]
Guard = Callable[[str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _unguarded(_: str) -> AsyncIterator[None]:
    yield


class FakeCluster(Cluster):
    """One cluster. ConfigMaps and Secrets are by (namespace, name); `labels` are those of the namespaces there are.

    `asked` is what was looked up, `writes` every write that was taken: `status NAMESPACE/NAME REASON`, `event REASON`.
    """

    def __init__(self, installation: str = "11111111-1111-4111-8111-111111111111") -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.all_policies: list[Object] = []
        self.all_images: dict[tuple[str, str], Object] = {}
        self.all_sessions: dict[tuple[str, str], Object] = {}
        self.labels: dict[str, Mapping[str, str]] = {}
        self.config_maps: dict[tuple[str, str], dict[str, bytes]] = {}
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.events: dict[tuple[str, str], Object] = {}
        self.asked: list[tuple[str, ...]] = []
        self.writes: list[str] = []
        self.away = False
        # What the deletion of a run is answered with, as by an admission webhook.
        self.undeletable: dict[tuple[str, str], Exception] = {}
        # After how many objects a list of runs breaks off.
        self.broken_after: int | None = None
        self.guard: Guard = _unguarded
        self.uid = installation
        self.listeners: list[Listener] = []
        self._versions = itertools.count(1)

    # What a test says.

    def add_run(self, namespace: str, name: str, spec: Mapping[str, Any]) -> Object:
        """Apply an AgentRun; as it is stored."""
        self.labels.setdefault(namespace, {})
        return self._store(_new("AgentRun", namespace, name, spec), "ADDED")

    def add_session(self, namespace: str, name: str, spec: Mapping[str, Any]) -> Object:
        """Apply an AgentSession; as it is stored."""
        self.labels.setdefault(namespace, {})
        return self._keep(_new("AgentSession", namespace, name, spec), "ADDED")

    def add_image(self, namespace: str, name: str, spec: Mapping[str, Any]) -> Object:
        """Apply an AgentImage; as it is stored."""
        self.labels.setdefault(namespace, {})
        return self._store_image(_new("AgentImage", namespace, name, spec), "ADDED")

    def change_image(self, namespace: str, name: str, **spec: Any) -> Object:
        """Change fields of an AgentImage's spec."""
        obj = _copied(self.all_images[namespace, name])
        obj["spec"] |= spec
        obj["metadata"]["generation"] += 1
        return self._store_image(obj, "MODIFIED")

    def delete_image(self, namespace: str, name: str) -> None:
        self._tell("DELETED", self.all_images.pop((namespace, name)))

    def delete_run(self, namespace: str, name: str) -> None:
        self._tell("DELETED", self.objects.pop((namespace, name)))

    def change(self, namespace: str, name: str, change: Callable[[Object], None]) -> Object:
        """Somebody else writes: labels, annotations, a status that a test needs."""
        obj = _copied(self.objects[namespace, name])
        change(obj)
        return self._store(obj, "MODIFIED")

    def change_spec(self, namespace: str, name: str, **spec: Any) -> Object:
        """Change fields of an AgentRun's spec."""

        def change(obj: Object) -> None:
            obj["spec"] |= spec
            obj["metadata"]["generation"] += 1

        return self.change(namespace, name, change)

    @asynccontextmanager
    async def watch(self, listener: Listener) -> AsyncIterator[None]:
        """Report every object that exists now, and then each change."""
        for obj in [*self.objects.values(), *self.all_sessions.values(), *self.all_images.values()]:
            listener("ADDED", _copied(obj))
        self.listeners.append(listener)
        try:
            yield
        finally:
            self.listeners.remove(listener)

    # What the operator asks.

    async def close(self) -> None:
        return

    async def installation(self) -> str:
        async with self._call("namespace", "kube-system"):
            return self.uid

    async def run(self, namespace: str, name: str) -> Run | None:
        async with self._call("run", namespace, name):
            found = self.objects.get((namespace, name))
            return None if found is None else objects.run(outline.small(msgspec.json.encode(found)))

    async def followed_run(self, namespace: str, name: str) -> Run | None:
        async with self._call("run", namespace, name):
            found = self.objects.get((namespace, name))
            return None if found is None else objects.run(outline.followed(msgspec.json.encode(found)))

    async def answered_run(self, namespace: str, name: str) -> Run | None:
        async with self._call("run", namespace, name):
            found = self.objects.get((namespace, name))
            return None if found is None else objects.run(outline.answered(msgspec.json.encode(found)))

    async def write_notification(self, run: Run, new: Mapping[str, Any]) -> Run:
        async with self._call("patch notification", run.namespace, run.name):
            stored = self.objects.get((run.namespace, run.name), {"metadata": {}})
            found, known = objects.run(stored), run.status.wire.get("notification")
            if found.uid != run.uid or found.status.wire.get("notification") != known:
                raise Conflict(f"{run.name} has changed or is gone")
            written = _copied(stored)
            written["status"]["notification"] = dict(new)
            if len(msgspec.json.encode(written)) > MAX_OBJECT:
                raise Rejected("the API server refuses it: the request is too large")
            self.writes.append(f"notification {run.namespace}/{run.name}")
            made = self._store(written, "MODIFIED")
            return objects.with_status(run, made["metadata"], {**run.status.wire, "notification": dict(new)})

    @asynccontextmanager
    async def whole_run(self, namespace: str, name: str) -> AsyncIterator[Run | None]:
        async with self._call("whole run", namespace, name):
            found = self.objects.get((namespace, name))
            content = None if found is None else msgspec.json.encode(found)
        if content is not None and (size := outline.spec_size(content)) > outline.MAX_SPEC:
            raise Oversized(f"is {size} bytes of JSON, and at most {outline.MAX_SPEC} leave room for a status")
        yield None if content is None else objects.run(outline.whole(content))

    async def runs(self) -> AsyncIterator[Run]:
        async with self._call("runs"):
            for n, obj in enumerate(list(self.objects.values())):
                if n == self.broken_after:
                    break
                yield objects.run(outline.of(msgspec.json.encode(obj)))
            if self.broken_after is not None:
                raise ClusterUnavailable("the API server: the list broke off")

    async def run_heads(self, namespace: str, session: str) -> list[Head]:
        async with self._call("run heads", namespace, session):
            return [objects.head(o["metadata"]) for o in self.objects.values() if _wants(o, namespace, session)]

    async def session(self, namespace: str, name: str) -> Session | None:
        async with self._call("session", namespace, name):
            found = self.all_sessions.get((namespace, name))
            return None if found is None else objects.session(outline.whole(msgspec.json.encode(found)))

    async def session_outline(self, namespace: str, name: str) -> Session | None:
        async with self._call("session", namespace, name):
            found = self.all_sessions.get((namespace, name))
            return None if found is None else objects.session(outline.of(msgspec.json.encode(found)))

    async def sessions(self) -> AsyncIterator[Session]:
        async with self._call("sessions"):
            for obj in list(self.all_sessions.values()):
                yield objects.session(outline.of(msgspec.json.encode(obj)))

    async def image(self, namespace: str, name: str) -> AgentImage | None:
        async with self._call("image", namespace, name):
            found = self.all_images.get((namespace, name))
            return None if found is None else objects.image(outline.whole(msgspec.json.encode(found)))

    async def images(self) -> AsyncIterator[AgentImage]:
        async with self._call("images"):
            for obj in list(self.all_images.values()):
                yield objects.image(outline.whole(msgspec.json.encode(obj)))

    async def create_session(self, namespace: str, name: str, spec: AgentSessionSpec) -> Session:
        async with self._call("create session", namespace, name):
            if (namespace, name) in self.all_sessions:
                raise Conflict(f"{name} is there")
            self.writes.append(f"session {namespace}/{name} created")
            return objects.session(
                self._keep(_new("AgentSession", namespace, name, objects.session_spec(spec)), "ADDED")
            )

    async def write_spec(self, obj: Session, spec: Mapping[str, Any]) -> Session:
        async def write(current: Session) -> bytes:
            return await self._write_session(current, {"spec": dict(spec)})

        written = await self._guarded(obj, write, self._patching(obj, write))
        return objects.with_spec(obj, outline.head(written), dict(spec))

    async def write_status(self, obj: K, status: Status) -> K:
        async def write(current: K) -> bytes:
            if isinstance(current, Run):
                return await self._write_status(current, status.wire)
            if isinstance(current, Session):
                return await self._write_session(current, {"status": _as_stored(status.wire)})
            if isinstance(current, AgentImage):
                return await self._write_image(current, status.wire)
            return await self._write_policy(current, status.wire)

        written = await self._guarded(obj, write, self._patching(obj, write))
        return objects.with_status(obj, outline.head(written), _as_stored(status.wire))

    async def delete_session(self, namespace: str, name: str) -> None:
        async with self._call("delete session", namespace, name):
            if found := self.all_sessions.pop((namespace, name), None):
                self._tell("DELETED", found)

    async def delete_finished_run(self, namespace: str, name: str, uid: str, version: str) -> None:
        async with self._call("delete run", namespace, name):
            if error := self.undeletable.get((namespace, name)):
                raise error
            found = self.objects.get((namespace, name))
            if found is None or objects.head(found["metadata"]).uid != uid:
                raise Conflict(f"{name} is not there")
            if objects.head(found["metadata"]).version != version:
                raise Conflict(f"{name} has changed")
            self.writes.append(f"run {namespace}/{name} deleted")
            if found["metadata"].get("finalizers"):
                self._store(_copied(found) | {"metadata": {**found["metadata"], "deletionTimestamp": _NOW}}, "MODIFIED")
            else:
                self._tell("DELETED", self.objects.pop((namespace, name)))

    async def serves_its_kinds(self) -> None:
        async with self._call("kinds"):
            return

    async def policies(self) -> list[Policy]:
        async with self._call("policies"):
            return [objects.policy(_copied(policy)) for policy in self.all_policies]

    async def namespace_labels(self, name: str) -> Mapping[str, str]:
        async with self._call("namespace", name):
            return dict(self.labels.get(name, {}))

    async def has_namespace(self, name: str) -> bool:
        async with self._call("namespace", name):
            return name in self.labels

    async def config_map_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        async with self._call("configmap", namespace, name):
            found = self.config_maps.get((namespace, name))
            return None if found is None else dict(found)

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        async with self._call("secret", namespace, name):
            found = self.secrets.get((namespace, name))
            return None if found is None else dict(found)

    async def _now(self, obj: K) -> K | None:
        async with self._call(obj.KIND.removeprefix("Agent").lower(), obj.namespace, obj.name):
            found = self._stored(obj)
            return None if found is None else objects.another(obj, outline.of(msgspec.json.encode(found)))

    def _stored(self, obj: Resource) -> Object | None:
        """The object of that name, as it stands on the wire."""
        if isinstance(obj, Policy):
            return next((policy for policy in self.all_policies if policy["metadata"]["name"] == obj.name), None)
        among = {Run.KIND: self.objects, Session.KIND: self.all_sessions, AgentImage.KIND: self.all_images}[obj.KIND]
        return among.get((obj.namespace, obj.name))

    def _patching(self, obj: K, write: Write[K]) -> Patch:
        """The write that no change of metadata can overtake."""

        async def patch() -> bytes:
            async with self._call("patch", obj.namespace, obj.name):
                stored = self._stored(obj)
                found = None if stored is None else objects.another(obj, stored)
                if found is None or not versions.is_as_read(obj, found):
                    raise Conflict(f"{obj.name} has changed or is gone")
            return await write(found)

        return patch

    def _current(self, obj: Resource) -> Object:
        """A copy of what is stored, of the version that was read. Raises Conflict."""
        found = self._stored(obj)
        if found is None or objects.head(found["metadata"]).uid != obj.uid:
            raise Conflict(f"{obj.name} is not there")
        if objects.head(found["metadata"]).version != obj.version:
            raise Conflict(f"{obj.name} has changed")
        return _copied(found)

    async def _write_status(self, run: Run, status: Mapping[str, Any]) -> bytes:
        async with self._call("put status", run.namespace, run.name):
            found = self._current(run)
            written = found | {"status": _as_stored(status)}
            if len(msgspec.json.encode(written)) > MAX_OBJECT:
                raise Rejected("the API server refuses it: the request is too large")
            if written != found:  # a write that changes nothing makes no new version
                self.writes.append(f"status {run.namespace}/{run.name} {_reason(written)}")
                self._store(written, "MODIFIED")
            return msgspec.json.encode(written)

    async def _write_policy(self, policy: Resource, status: Mapping[str, Any]) -> bytes:
        async with self._call("policy status", policy.name):
            written = self._current(policy) | {"status": _as_stored(status)}
            written["metadata"]["resourceVersion"] = str(next(self._versions))
            self.all_policies = [written if p["metadata"]["name"] == policy.name else p for p in self.all_policies]
            self.writes.append(f"policy {policy.name}")
            return msgspec.json.encode(written)

    async def post_event(self, event: Mapping[str, Any]) -> None:
        meta = event["metadata"]
        key = (meta["namespace"], meta["name"])
        async with self._call("post event", *key):
            if meta["namespace"] in self.labels and key not in self.events:
                self.writes.append(f"event {event['reason']}")
                self.events[key] = _copied(dict(event))

    @asynccontextmanager
    async def _call(self, *what: str) -> AsyncIterator[None]:
        self.asked.append(what)
        async with self.guard(what[0]):
            if self.away:
                raise ClusterUnavailable("the API server: connection refused")
            yield

    def _store(self, obj: Object, how: str) -> Object:
        meta = obj["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[meta["namespace"], meta["name"]] = obj
        self._tell(how, obj)
        return _copied(obj)

    def _store_image(self, obj: Object, how: str) -> Object:
        meta = obj["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.all_images[meta["namespace"], meta["name"]] = obj
        self._tell(how, obj)
        return _copied(obj)

    async def _write_image(self, image: AgentImage, status: Mapping[str, Any]) -> bytes:
        async with self._call("put image", image.namespace, image.name):
            found = self._current(image)
            written = found | {"status": _as_stored(status)}
            if written != found:
                self.writes.append(f"image {image.namespace}/{image.name} {_reason(written, 'Ready')}")
                written = self._store_image(written, "MODIFIED")
            return msgspec.json.encode(written)

    async def _write_session(self, session: Session, changes: Object) -> bytes:
        async with self._call("put session", session.namespace, session.name):
            found = self._current(session)
            written = _copied(found) | changes
            if written["spec"] != found["spec"]:
                written["metadata"]["generation"] = session.generation + 1
            if written != found:
                self.writes.append(f"session {session.namespace}/{session.name}")
                self._keep(written, "MODIFIED")
            return msgspec.json.encode(written)

    def _keep(self, session: Object, how: str) -> Object:
        meta = session["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.all_sessions[meta["namespace"], meta["name"]] = session
        self._tell(how, session)
        return _copied(session)

    def _tell(self, how: str, obj: Object) -> None:
        for listener in self.listeners:
            listener(how, _copied(obj))


def _copied(obj: Object) -> Object:
    """A copy of JSON, in a tenth of the time that the same takes in Python."""
    copied: Object = msgspec.to_builtins(obj)
    return copied


def _new(kind: str, namespace: str, name: str, spec: Mapping[str, Any], **more: object) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "generation": 1}
    meta |= {"creationTimestamp": _NOW, **more}
    return {"apiVersion": "stromboli.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": dict(spec)}


def _wants(run: Object, namespace: str, session: str) -> bool:
    choice = run["spec"].get("session") or {}
    return run["metadata"]["namespace"] == namespace and session in (choice.get("name"), choice.get("fork"))


def _as_stored(status: Mapping[str, Any]) -> Any:
    """A status as it comes back. Raises Rejected for what cannot be written, or is more than etcd takes."""
    try:
        text = msgspec.json.encode(status)  # as lightkube does: an infinite number becomes null
    except UnicodeEncodeError as error:
        raise Rejected(str(error)) from error
    if not isinstance(status.get("phase", ""), str):
        raise Rejected("status.phase: must be of type string")
    if not isinstance(status.get("rank", 0), int):
        raise Rejected("status.rank: must be of type integer")
    return json.loads(text)


def _reason(obj: Mapping[str, Any], type_: str = "Succeeded") -> str:
    found = [c["reason"] for c in obj["status"].get("conditions", []) if c["type"] == type_]
    return found[0] if found else ""
