"""Calls to the API server that return bytes; the paths are those of lightkube's resources.

Errors are HttpFailed and HttpRefused, which kube/client.py maps, and ClusterUnavailable if there are no credentials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import Resource, api_info
from yaml import YAMLError

from stromboli.errors import HttpFailed, HttpRefused, InvalidSettings
from stromboli.httpclient import Response
from stromboli.kube import wire
from stromboli.kube.credentials import Credentials
from stromboli.naming import MANAGER

PAGE = 10  # objects per page, each of which can be 1.5 MiB
HEADS = 100  # … if only metadata is requested
_META = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METAS = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON = "application/json"
_PATCH = "application/json-patch+json"

_AS = {"fieldManager": MANAGER}
_DELETE_OPTIONS = {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions"}

Kind = type[Resource]
# Is called at each answer: the method, the resource, the status or 0 if there was none, and the seconds that it took.
Observe = Callable[[str, str, int, float], None]


def unobserved(method: str, resource: str, status: int, seconds: float) -> None:
    """For whoever does not count."""


class _Failure(msgspec.Struct):
    """The Status object that the API server returns for a failure."""

    message: str = ""


class Plain:
    """The connection. Names must have been validated: they become part of a path."""

    def __init__(self, config: SingleConfig, observe: Observe = unobserved) -> None:
        self._observe = observe
        self._http = wire.http(config)
        self._credentials = Credentials(config)

    @classmethod
    def found(cls, observe: Observe = unobserved) -> Self:
        """The API server that kubectl would find (in-cluster, KUBECONFIG). Raises InvalidSettings if there is none."""
        try:
            return cls(wire.config(), observe)
        except (ConfigError, OSError) as e:
            raise InvalidSettings(f"leads to no cluster ({e}); name a kubeconfig file", "KUBECONFIG") from e
        except (YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:  # lightkube trusts its shape
            raise InvalidSettings("names a file that is no kubeconfig; name one that is", "KUBECONFIG") from e

    async def close(self) -> None:
        await self._http.close()

    async def document(self, path: str) -> bytes:
        """The document at a path. Raises HttpFailed."""
        return await self._answer("GET", path, _JSON)

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> bytes:
        """One object. Raises HttpFailed."""
        return await self._answer("GET", _path(kind, namespace, name), _JSON)

    async def list(self, kind: Kind, query: Mapping[str, str], *, namespace: str | None = None) -> bytes:
        """A page of a list, of all namespaces or of one. Raises HttpFailed."""
        return await self._answer("GET", _path(kind, namespace), _JSON, {"limit": str(PAGE), **query})

    async def heads(self, kind: Kind, query: Mapping[str, str], *, namespace: str | None = None) -> bytes:
        """A page of a list, with the objects' metadata only. Raises HttpFailed."""
        return await self._answer("GET", _path(kind, namespace), _METAS, {"limit": str(HEADS), **query})

    async def create(self, kind: Kind, body: Mapping[str, Any], *, namespace: str | None = None) -> bytes:
        """Create an object; returns it as it is stored. Raises HttpFailed, UnicodeEncodeError."""
        return await self._answer("POST", _path(kind, namespace), _JSON, _AS, msgspec.json.encode(body))

    async def replace(self, kind: Kind, name: str, body: Mapping[str, Any], *, namespace: str | None = None) -> bytes:
        """Replace an object or a subresource; returns its metadata. Raises HttpFailed, UnicodeEncodeError."""
        return await self._answer("PUT", _path(kind, namespace, name), _META, _AS, msgspec.json.encode(body))

    async def patch(
        self, kind: Kind, name: str, operations: Sequence[Mapping[str, Any]], *, namespace: str | None = None
    ) -> bytes:
        """Apply a JSON patch; returns the object's metadata. Raises HttpFailed, UnicodeEncodeError."""
        content = msgspec.json.encode(operations)
        return await self._answer("PATCH", _path(kind, namespace, name), _META, _AS, content, sent=_PATCH)

    async def delete(
        self, kind: Kind, name: str, *, namespace: str, preconditions: Mapping[str, str] | None = None
    ) -> bytes:
        """Delete an object, if its metadata is as in `preconditions`; returns the API server's response.

        Raises HttpFailed.
        """
        path, content = _path(kind, namespace, name), None
        if preconditions is not None:
            content = msgspec.json.encode({**_DELETE_OPTIONS, "preconditions": preconditions})
        return await self._answer("DELETE", path, _JSON, content=content)

    async def _answer(
        self,
        method: str,
        path: str,
        accept: str,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        sent: str = _JSON,
    ) -> bytes:
        headers = {"Accept": accept} if content is None else {"Accept": accept, "Content-Type": sent}
        response = await self._asked(method, path, query, content, headers)
        if response.status == 401 and self._credentials.can_change:
            response = await self._asked(method, path, query, content, headers, refused=True)
        if not 200 <= response.status < 300:  # a redirection is not followed
            said = _said(response.content) or f"{method} {path} was answered with status {response.status}"
            raise HttpRefused(said, response.status)
        return response.content

    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        refused: bool = False,
    ) -> Response:
        if authorization := await self._credentials.header(refused=refused):
            headers = {**headers, "Authorization": authorization}
        call = self._http.stream(
            method, path, query=query, headers=headers, body=content, silence=wire.SILENCE, short=True
        )
        begun = time.monotonic()
        try:
            async with call as answer:
                response = Response(answer.status, answer.headers, await answer.read())
        except HttpFailed:
            self._observe(method, _resource(path), 0, time.monotonic() - begun)
            raise
        self._observe(method, _resource(path), response.status, time.monotonic() - begun)
        return response


def _said(content: bytes) -> str:
    """The API server's own message for a failure; empty if the response is not the API server's."""
    try:
        return msgspec.json.decode(content, type=_Failure).message
    except (ValueError, RecursionError):
        return ""


def _resource(path: str) -> str:
    """What a path is about, without the names in it: `agentruns`, `agentruns/status`; `discovery` for a document."""
    parts = path.split("/")[1:]
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join((*parts[:1], *parts[2:])) or "discovery"


def _path(kind: Kind, namespace: str | None = None, name: str | None = None) -> str:
    info = api_info(kind)
    resource = info.parent or info.resource
    parts = ["apis" if resource.group else "api", resource.group, resource.version]
    parts += ["namespaces", namespace] if namespace else []
    parts += [info.plural, name, info.action]
    return "/" + "/".join(part for part in parts if part)
