"""The API server without one: what `stromboli.kube.client.Cluster` does, answered from memory.

The contract tests hold it to what the real one does. A test puts objects in (`add_run`, `all_policies`, `secrets` …),
takes the server away (`away`), gets between a call and its answer (`guard`), and listens as a watch would (`watch`).
"""

from __future__ import annotations

import copy
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec

from stromboli.errors import ClusterUnavailable, Conflict, Oversized, Rejected
from stromboli.kube import outline, versions
from stromboli.kube.client import MAX_SPEC, Cluster, Patch, Write

Object = dict[str, Any]
# What etcd takes in one request by its defaults (--max-request-bytes).
MAX_OBJECT = 1_572_864
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
        self.all_sessions: dict[tuple[str, str], Object] = {}
        self.labels: dict[str, Mapping[str, str]] = {}
        self.config_maps: dict[tuple[str, str], dict[str, bytes]] = {}
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.events: dict[tuple[str, str], Object] = {}
        self.asked: list[tuple[str, ...]] = []
        self.writes: list[str] = []
        self.away = False
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

    def delete_run(self, namespace: str, name: str) -> None:
        self._tell("DELETED", self.objects.pop((namespace, name)))

    def change(self, namespace: str, name: str, change: Callable[[Object], None]) -> Object:
        """Somebody else writes: labels, annotations, a status that a test needs."""
        obj = copy.deepcopy(self.objects[namespace, name])
        change(obj)
        return self._store(obj, "MODIFIED")

    @asynccontextmanager
    async def watch(self, listener: Listener) -> AsyncIterator[None]:
        """Tell of all that is there now, and then of every change."""
        for obj in [*self.objects.values(), *self.all_sessions.values()]:
            listener("ADDED", copy.deepcopy(obj))
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

    async def run(self, namespace: str, name: str) -> Object | None:
        async with self._call("run", namespace, name):
            found = self.objects.get((namespace, name))
            return None if found is None else outline.small(msgspec.json.encode(found))

    @asynccontextmanager
    async def whole_run(self, namespace: str, name: str) -> AsyncIterator[Object | None]:
        async with self._call("whole run", namespace, name):
            found = self.objects.get((namespace, name))
            content = None if found is None else msgspec.json.encode(found)
        if content is not None and (size := outline.spec_size(content)) > MAX_SPEC:
            raise Oversized(f"is {size} bytes of JSON, and at most {MAX_SPEC} leave room for a status")
        yield None if content is None else outline.whole(content)

    async def runs(self) -> AsyncIterator[Object]:
        async with self._call("runs"):
            for n, obj in enumerate(list(self.objects.values())):
                if n == self.broken_after:
                    break
                yield outline.of(msgspec.json.encode(obj))
            if self.broken_after is not None:
                raise ClusterUnavailable("the API server: the list broke off")

    async def run_heads(self, namespace: str, session: str) -> list[Object]:
        async with self._call("run heads", namespace, session):
            return [
                outline.head(msgspec.json.encode(o)) for o in self.objects.values() if _wants(o, namespace, session)
            ]

    async def session(self, namespace: str, name: str) -> Object | None:
        async with self._call("session", namespace, name):
            return copy.deepcopy(self.all_sessions.get((namespace, name)))

    async def session_outline(self, namespace: str, name: str) -> Object | None:
        async with self._call("session", namespace, name):
            found = self.all_sessions.get((namespace, name))
            return None if found is None else outline.of(msgspec.json.encode(found))

    async def sessions(self) -> AsyncIterator[Object]:
        async with self._call("sessions"):
            for obj in list(self.all_sessions.values()):
                yield outline.of(msgspec.json.encode(obj))

    async def create_session(self, namespace: str, name: str, spec: Mapping[str, Any]) -> Object:
        async with self._call("create session", namespace, name):
            if (namespace, name) in self.all_sessions:
                raise Conflict(f"{name} is there")
            self.writes.append(f"session {namespace}/{name} created")
            return self._keep(_new("AgentSession", namespace, name, spec), "ADDED")

    async def write_session_spec(self, obj: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
        async def write(current: Mapping[str, Any]) -> Object:
            return await self._write_session(current, {"spec": dict(spec)})

        return await self._guarded(obj, write, self.session, self._patching(obj, self.all_sessions, write))

    async def write_session_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        async def write(current: Mapping[str, Any]) -> Object:
            return await self._write_session(current, {"status": json.loads(json.dumps(status))})

        return await self._guarded(obj, write, self.session, self._patching(obj, self.all_sessions, write))

    async def delete_session(self, namespace: str, name: str) -> None:
        async with self._call("delete session", namespace, name):
            if found := self.all_sessions.pop((namespace, name), None):
                self._tell("DELETED", found)

    async def serves_its_kinds(self) -> None:
        async with self._call("kinds"):
            return

    async def policies(self) -> list[Object]:
        async with self._call("policies"):
            return copy.deepcopy(self.all_policies)

    async def write_policy_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        name = obj["metadata"]["name"]
        async with self._call("policy status", name):
            at = next((n for n, p in enumerate(self.all_policies) if p["metadata"]["name"] == name), None)
            if at is None or self.all_policies[at]["metadata"].get("resourceVersion") != obj["metadata"].get(
                "resourceVersion"
            ):
                raise Conflict("the policy has changed, or is gone")
            written = copy.deepcopy(self.all_policies[at]) | {"status": json.loads(json.dumps(status))}
            written["metadata"]["resourceVersion"] = str(next(self._versions))
            self.all_policies[at] = written
            self.writes.append(f"policy {name}")
            return copy.deepcopy(written)

    async def namespace_labels(self, name: str) -> Mapping[str, str]:
        async with self._call("namespace", name):
            return dict(self.labels.get(name, {}))

    async def config_map_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        async with self._call("configmap", namespace, name):
            found = self.config_maps.get((namespace, name))
            return None if found is None else dict(found)

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        async with self._call("secret", namespace, name):
            found = self.secrets.get((namespace, name))
            return None if found is None else dict(found)

    async def write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        async def write(current: Mapping[str, Any]) -> Object:
            written = await self._write_status(current, status)
            meta = outline.head(msgspec.json.encode(written))
            return {**obj, "metadata": meta, "status": written["status"]}

        return await self._guarded(obj, write, self.run, self._patching(obj, self.objects, write))

    def _patching(self, obj: Mapping[str, Any], among: Mapping[tuple[str, str], Object], write: Write) -> Patch:
        """The write that no change of metadata can overtake."""

        async def patch() -> Object:
            async with self._call("patch", obj["metadata"]["namespace"], obj["metadata"]["name"]):
                found = among.get((obj["metadata"]["namespace"], obj["metadata"]["name"]))
                if found is None or not versions.is_as_read(obj, found):
                    raise Conflict(f"{obj['metadata']['name']} has changed or is gone")
            return await write(found)

        return patch

    async def _write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        meta = obj["metadata"]
        async with self._call("put status", meta["namespace"], meta["name"]):
            found = self.objects.get((meta["namespace"], meta["name"]))
            if found is None:
                raise Conflict(f"{meta['name']} is not there")
            if any(found["metadata"][key] != meta[key] for key in ("uid", "resourceVersion")):
                raise Conflict(f"{meta['name']} has changed")
            written = copy.deepcopy(found) | {"status": _as_stored(status)}
            if len(msgspec.json.encode(written)) > MAX_OBJECT:
                raise Rejected("the API server refuses it: the request is too large")
            if written == found:  # a write that changes nothing makes no new version
                return copy.deepcopy(found)
            self.writes.append(f"status {meta['namespace']}/{meta['name']} {_reason(written)}")
            return self._store(written, "MODIFIED")

    async def post_event(self, event: Mapping[str, Any]) -> None:
        meta = event["metadata"]
        key = (meta["namespace"], meta["name"])
        async with self._call("post event", *key):
            if meta["namespace"] in self.labels and key not in self.events:
                self.writes.append(f"event {event['reason']}")
                self.events[key] = copy.deepcopy(dict(event))

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
        return copy.deepcopy(obj)

    async def _write_session(self, obj: Mapping[str, Any], changes: Object) -> Object:
        meta = obj["metadata"]
        async with self._call("put session", meta["namespace"], meta["name"]):
            found = self.all_sessions.get((meta["namespace"], meta["name"]))
            if found is None or any(found["metadata"][key] != meta[key] for key in ("uid", "resourceVersion")):
                raise Conflict(f"{meta['name']} has changed or is gone")
            written = copy.deepcopy(found) | changes
            if written == found:
                return written
            if written["spec"] != found["spec"]:
                written["metadata"]["generation"] = found["metadata"].get("generation", 1) + 1
            self.writes.append(f"session {meta['namespace']}/{meta['name']}")
            return self._keep(written, "MODIFIED")

    def _keep(self, session: Object, how: str) -> Object:
        meta = session["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.all_sessions[meta["namespace"], meta["name"]] = session
        self._tell(how, session)
        return copy.deepcopy(session)

    def _tell(self, how: str, obj: Object) -> None:
        for listener in self.listeners:
            listener(how, copy.deepcopy(obj))


def _new(kind: str, namespace: str, name: str, spec: Mapping[str, Any], **more: object) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "generation": 1}
    meta |= {"creationTimestamp": "2026-01-01T12:00:00Z", **more}
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
    return json.loads(text)


def _reason(obj: Mapping[str, Any]) -> str:
    found = [c["reason"] for c in obj["status"].get("conditions", []) if c["type"] == "Succeeded"]
    return found[0] if found else ""
