"""What the API server answers people instead of what they asked for, as an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli import bounds
from stromboli.errors import ApiRefused
from stromboli.naming import AGENTS_API, API_SERVICE

_HINTS = {
    401: "log in again, or set KUBECONFIG to a kubeconfig that the cluster accepts",
    403: "ask whoever administers the cluster: the ClusterRole stromboli-user, bound in the namespace, allows it",
    503: "try again; `kubectl get apiservices`, or on a local installation `stromboli status`, shows what is down",
}
_NOT_SERVED = "the server could not find the requested resource"
_NO_KINDS = "install Stromboli's CRDs and manifests in the cluster; `kubectl get crds` shows whether they are there"
_NO_READ_API = f"install Stromboli's gateway in the cluster; `kubectl get apiservice {API_SERVICE}` shows how it is"
_NO_GATEWAY = "Stromboli's gateway, which serves logs, conversations and images, does not answer"
_WORDS = 500  # characters of an error that is not the API server's


def of_answer(status: int, content: bytes, path: str) -> ApiRefused:
    """What the API server says: a `Status` of its API, or words of whatever stands before it."""
    try:
        said = bounds.json_document(content, bounds.ANSWER)
    except ValueError:
        said = None
    # The API server's own timeouts come without a kind.
    if isinstance(said, dict) and (said.get("kind") == "Status" or said.get("status") == "Failure"):
        return of_status(status, said, path)
    words = content.decode("utf-8", "replace").strip()[:_WORDS]
    if status == 503 and path.startswith(AGENTS_API):
        words = _NO_GATEWAY
    return of_status(status, {"message": _NOT_SERVED if status == 404 else words}, path)


def of_status(status: int, said: Mapping[str, Any], path: str) -> ApiRefused:
    """The error that is a `Status` of the API."""
    message = said.get("message")
    if not isinstance(message, str) or not message:
        message = f"the API server answers {status}"
    hint = _HINTS.get(status, "")
    if status == 404 and message.startswith(_NOT_SERVED):
        message = f"{message}: {path}"
        hint = _NO_READ_API if path.startswith(AGENTS_API) else _NO_KINDS
    return ApiRefused(message, hint, status, str(said.get("reason") or ""))
