"""What the read API answers, for people with a kubeconfig: the API server passes their requests on to it.

Every error is a LocalFailure that says what to do; ApiRefused if it is the read API's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stromboli import bounds
from stromboli.kube import readapi
from stromboli.kube.user import SILENCE, Query, Resource, User
from stromboli.naming import AGENTS_GROUP, VERSION

_SESSIONS = Resource("agentsessions", AGENTS_GROUP, VERSION)
_IMAGES = Resource("images", AGENTS_GROUP, VERSION)

Document = Mapping[str, Any]


def messages(user: User, namespace: str, session: str) -> Document:
    """A session's messages, as the server returns them (see `messages`). Raises LocalFailure."""
    return user.document(_SESSIONS.path(namespace, session, "messages"))


def images(user: User, namespace: str, everything: bool, report: Callable[[int, int], None]) -> Document:
    """The node's images (see `images`), with `everything` also those that the namespace may not use; `report` is called
    with how many are inspected, of how many. Raises LocalFailure.
    """
    if everything:
        return _last(user, _IMAGES.path(), {"namespace": namespace}, report)
    return _last(user, _IMAGES.path(namespace), {}, report)


def image(user: User, namespace: str, reference: str) -> Document:
    """What is in an image (see `images`). Raises LocalFailure."""
    return user.document(_IMAGES.path(namespace, "inspect"), {"reference": reference})


def search(user: User, namespace: str, query: str, limit: int) -> Document:
    """What the registries have (see `images`). Raises LocalFailure."""
    return user.document(_IMAGES.path(namespace, "search"), {"query": query, "limit": str(limit)})


def _last(user: User, path: str, query: Query, report: Callable[[int, int], None]) -> Document:
    """The last line of an answer, which lines of progress precede. It may be an error."""
    answer: Document | None = None
    with readapi.valid(path), user.stream(path, query, silence=SILENCE) as stream:
        for line in stream.lines():
            answer = bounds.json_document(line, bounds.ANSWER)
            if isinstance(progress := answer.get("progress"), dict):
                report(int(progress["done"]), int(progress["total"]))
                answer = None
    return readapi.last(answer, path)
