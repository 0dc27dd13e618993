"""The few calls to the API server that the operator makes, on lightkube, with one error-mapping seam.

A lookup answers the object or None (the server said that it is not there); when nothing is known,
ClusterUnavailable is raised. A write that lost a race raises Conflict.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.config import client_adapter
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from yaml import YAMLError

from stromboli import bounds
from stromboli.errors import ClusterUnavailable, InvalidSettings, StromboliError
from stromboli.kube import wire
from stromboli.naming import API_VERSION, GROUP, VERSION

AgentRun = create_namespaced_resource(GROUP, VERSION, "AgentRun", "agentruns")
AgentSession = create_namespaced_resource(GROUP, VERSION, "AgentSession", "agentsessions")
AgentPolicy = create_global_resource(GROUP, VERSION, "AgentPolicy", "agentpolicies")
Namespace = create_global_resource("", "v1", "Namespace", "namespaces")
ConfigMap = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
Secret = create_namespaced_resource("", "v1", "Secret", "secrets")
Event = create_namespaced_resource("", "v1", "Event", "events")

WATCHED = ("agentruns", "agentsessions", "agentpolicies")
_KEPT = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "finalizers", "ownerReferences")
T = TypeVar("T")
Object = dict[str, Any]


class Conflict(StromboliError):
    """The object has changed since it was read, or is gone: look again."""


class Rejected(StromboliError):
    """The API server will not take what was written, however often it is asked: too large, or against the schema."""


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

    async def close(self) -> None:
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
        """Raises ClusterUnavailable until the API server's discovery tells of every kind that is watched.

        An API server that has just started answers for a kind before its discovery tells of it; and kopf watches
        what discovery tells of at its start, once.
        """
        async with client_adapter.AsyncClient(self._client.config, ConnectionParams(timeout=wire.TIMEOUT)) as plain:
            try:
                groups, kinds = await asyncio.gather(plain.get("/apis"), plain.get(f"/apis/{GROUP}/{VERSION}"))
                found = {group["name"] for group in _told(groups)["groups"]}
                found |= {kind["name"] for kind in _told(kinds)["resources"]}
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as e:
                raise _unavailable(e) from e
        if missing := {GROUP, *WATCHED} - found:
            raise ClusterUnavailable(f"the API server does not tell of {', '.join(sorted(missing))} yet")

    async def run(self, namespace: str, name: str) -> Object | None:
        return await self._present(self._client.get(AgentRun, name, namespace=namespace))

    async def runs(self) -> AsyncIterator[Object]:
        """Every AgentRun of the cluster, to the last one or not at all: a broken list raises."""
        async for item in self._listed(self._client.list(AgentRun, namespace="*", chunk_size=500)):
            yield item

    async def runs_wanting(self, namespace: str, session: str) -> list[Object]:
        """Every AgentRun that names a session, or forks it, whatever has become of it; never part of them."""
        found = []
        for path in ("spec.session.name", "spec.session.fork"):
            pages = self._client.list(AgentRun, namespace=namespace, fields={path: session})
            found += [item async for item in self._listed(pages)]
        return found

    async def session(self, namespace: str, name: str) -> Object | None:
        return await self._present(self._client.get(AgentSession, name, namespace=namespace))

    async def sessions(self) -> list[Object]:
        """Every AgentSession of the cluster; never part of them."""
        pages = self._client.list(AgentSession, namespace="*", chunk_size=500)
        return [item async for item in self._listed(pages)]

    async def policies(self) -> list[Object]:
        """Every AgentPolicy; never part of them."""
        return [item async for item in self._listed(self._client.list(AgentPolicy))]

    async def namespace_labels(self, name: str) -> Mapping[str, str]:
        found = await self._present(self._client.get(Namespace, name))
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return {str(k): str(v) for k, v in labels.items()}

    async def config_map_value(self, namespace: str, name: str, key: str) -> bytes | None:
        """A key of a ConfigMap, or None where the object or the key is missing."""
        found = await self._present(self._client.get(ConfigMap, name, namespace=namespace))
        if found is None:
            return None
        if (text := (found.get("data") or {}).get(key)) is not None:
            return str(text).encode()
        return _decoded((found.get("binaryData") or {}).get(key))

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """All of a Secret's data, or None where it is missing."""
        found = await self._present(self._client.get(Secret, name, namespace=namespace))
        if found is None:
            return None
        return {k: _decoded(v) or b"" for k, v in (found.get("data") or {}).items()}

    async def write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a run's status as of the object's resourceVersion; the new object. Raises Conflict, Rejected.

        A PUT and not a merge patch, in which a null inside a structured answer would mean "remove".
        """
        body = _body("AgentRun", obj, obj["spec"], status)
        meta = body["metadata"]
        call = self._client.replace(AgentRun.Status.from_dict(body), meta["name"], namespace=meta["namespace"])
        return dict(await self._written(call))

    async def write_session_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a session's status, as `write_status` does a run's."""
        body = _body("AgentSession", obj, obj["spec"], status)
        meta = body["metadata"]
        call = self._client.replace(AgentSession.Status.from_dict(body), meta["name"], namespace=meta["namespace"])
        return dict(await self._written(call))

    async def write_policy_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Replace a policy's status, as `write_status` does a run's."""
        body = _body("AgentPolicy", obj, obj.get("spec") or {}, status)
        call = self._client.replace(AgentPolicy.Status.from_dict(body), body["metadata"]["name"])
        return dict(await self._written(call))

    async def write_session_spec(self, obj: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
        """Replace a session's spec as of the object's resourceVersion; the new object. Raises Conflict, Rejected."""
        body = _body("AgentSession", obj, spec, obj.get("status") or {})
        meta = body["metadata"]
        call = self._client.replace(AgentSession.from_dict(body), meta["name"], namespace=meta["namespace"])
        return dict(await self._written(call))

    async def create_session(
        self, namespace: str, name: str, spec: Mapping[str, Any], notes: Mapping[str, str]
    ) -> Object:
        """Make a session with these annotations; as it is stored. Raises Conflict where there is one, Rejected."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "AgentSession",
            "metadata": {"name": name, "namespace": namespace, "annotations": dict(notes)},
            "spec": dict(spec),
        }
        return dict(await self._written(self._client.create(AgentSession.from_dict(body))))

    async def delete_session(self, namespace: str, name: str) -> None:
        """Delete a session; one that is gone is no error."""
        try:
            await self._written(self._client.delete(AgentSession, name, namespace=namespace))
        except Conflict:
            return

    async def post_event(self, event: Mapping[str, Any]) -> None:
        """Write a Kubernetes event; one of the same name is the same event and stays as it is."""
        call = self._client.create(Event.from_dict(dict(event)))
        try:
            await self._written(call)
        except Conflict:
            return

    async def _listed(self, pages: Any) -> AsyncIterator[Object]:
        try:
            async for item in pages:
                yield dict(item)
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            raise _unavailable(e) from e

    async def _present(self, call: Awaitable[Any]) -> Object | None:
        try:
            return dict(await call)
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            if _code(e) == 404:
                return None
            raise _unavailable(e) from e

    async def _written(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (httpx2.HTTPError, ValueError, KeyError) as e:
            raise _refused(e) from e


def _body(kind: str, obj: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
    """An object as it is to be from now on. All that is a person's of its metadata goes along: a PUT replaces it."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {k: obj["metadata"][k] for k in _KEPT if k in obj["metadata"]},
        # At a status, the API server keeps the spec as it is; the schema only asks that there is one.
        "spec": dict(spec),
        "status": dict(status),
    }


def _told(response: httpx2.Response) -> Any:
    """What an answer of discovery says; extensions of the cluster have their part in it."""
    return bounds.json_document(response.raise_for_status().content, bounds.ANSWER)


def _code(error: Exception) -> int:
    if isinstance(error, ApiError):
        return error.status.code or 0
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code
    return 0


def _refused(error: Exception) -> StromboliError:
    """What lightkube raises for a write → our tree."""
    if _code(error) in (404, 409):
        return Conflict(_text(error))
    # half of a surrogate pair cannot even be sent
    if _code(error) in (400, 413, 422) or isinstance(error, UnicodeEncodeError):
        return Rejected(f"the API server refuses it: {_text(error)}")
    return _unavailable(error)


def _unavailable(error: Exception) -> ClusterUnavailable:
    """What lightkube raises for a read → our tree. A kind that is not served (404 of a list) is unknown, not empty."""
    return ClusterUnavailable(f"the API server: {_text(error)}")


def _text(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
