"""Asks the API server who a user is and what they may do: TokenReview and SubjectAccessReview.

A denial is a result; if nothing is known, ClusterUnavailable is raised. Nothing is cached here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightkube.core.resource import api_info
from lightkube.generic_resource import GenericGlobalResource, create_global_resource

from stromboli import bounds
from stromboli.errors import ClusterUnavailable, HttpFailed
from stromboli.kube.plain import Kind
from stromboli.models.objects import fields

TokenReview = create_global_resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews")
SubjectAccessReview = create_global_resource(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews"
)


class Creator(Protocol):
    """The part of plain.py that we use."""

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> bytes:
        """Create an object; returns the API server's version of it. Raises HttpFailed."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user whom the API server knows, in the form in which a review names them."""

    username: str
    uid: str
    groups: tuple[str, ...]
    extra: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Access:
    """One verb on one object or on its `subresource`."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str


class Reviews:
    """The two reviews, made with the operator's own credentials."""

    def __init__(self, client: Creator) -> None:
        self._client = client

    async def person(self, token: str) -> Person | None:
        """The user of that token; None if the API server does not know it. Raises ClusterUnavailable."""
        status = await self._asked(TokenReview, {"token": token})
        user = fields(status.get("user"))
        if status.get("authenticated") is not True or not user.get("username"):
            return None
        extra = {str(key): list(values) for key, values in (user.get("extra") or {}).items()}
        return Person(str(user["username"]), str(user.get("uid") or ""), tuple(user.get("groups") or ()), extra)

    async def allows(self, person: Person, access: Access) -> bool:
        """Whether the user may do that. Raises ClusterUnavailable."""
        spec = {
            "user": person.username,
            "uid": person.uid,
            "groups": list(person.groups),
            "extra": dict(person.extra),
            "resourceAttributes": {
                "verb": access.verb,
                "group": access.group,
                "resource": access.resource,
                "subresource": access.subresource,
                "namespace": access.namespace,
                "name": access.name,
            },
        }
        status = await self._asked(SubjectAccessReview, spec)
        return status.get("allowed") is True and status.get("denied") is not True

    async def _asked(self, kind: type[GenericGlobalResource], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        info = api_info(kind).resource
        body = {"apiVersion": f"{info.group}/{info.version}", "kind": kind.__name__, "metadata": {}, "spec": spec}
        try:
            answer = fields(bounds.json_object(await self._client.create(kind, body)))
        except (HttpFailed, ClusterUnavailable, ValueError) as e:
            said = str(e)[:500] or type(e).__name__
            raise ClusterUnavailable(f"the API server, asked for a {kind.__name__}: {said}") from e
        return fields(answer.get("status"))
