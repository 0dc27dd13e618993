"""/auth/…, which Stromboli's server has and this one has not: tokens are those of Kubernetes. Not in the OpenAPI
document.
"""

from __future__ import annotations

from fastapi import APIRouter

from stromboli.httpapi.errors import Refusal

router = APIRouter(include_in_schema=False)

_SAID = (
    "there are no tokens of this server's own: send one of Kubernetes in the header `Authorization: Bearer TOKEN`, "
    "such as `kubectl create token SERVICEACCOUNT` prints; on a local installation, the machine's own calls need none"
)


@router.api_route("/auth", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
@router.api_route("/auth/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def auth(rest: str = "") -> None:
    """Says what to use instead."""
    raise Refusal(404, _SAID, "NotFound")
