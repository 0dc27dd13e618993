"""Answers of the read API: JSON documents, and every error as one sentence, with a reason for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from stromboli.api.errors import Declined
from stromboli.errors import ClusterUnavailable, ImageMissing, PodmanError, PodmanUnavailable, Refused, StromboliError
from stromboli.reasons import Reason

log = logging.getLogger(__name__)

REPORTED = (Declined, Refused, ImageMissing, ClusterUnavailable, PodmanUnavailable, PodmanError)

# What is said of an error that nobody expects, whose text is for the log alone.
UNEXPECTED = Declined(500, "this could not be answered; the log of the operator, or of the gateway, says why")

# The reasons of the API server, where an error has none of its own.
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    503: "ServiceUnavailable",
}

Document = Mapping[str, Any]


@web.middleware
async def errors_as_status(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns every error into its HTTP status and a metav1.Status with one sentence, which kubectl prints."""
    try:
        return await handler(request)
    except REPORTED as e:
        declined = of_error(e)
        if declined.status == 503:
            log.warning("%s: %s", request.path, e)
    except web.HTTPException as e:  # raised by aiohttp: unknown path or method
        declined = Declined(e.status, f"{request.method} {request.path} is not served here: {e.reason}")
    except ConnectionError:  # the client is gone
        raise
    except Exception:  # whatever it is, the answer is a sentence, and the cause is in the log only
        log.exception("%s: unexpected error", request.path)
        declined = UNEXPECTED
    response = json_answer(declined.status, as_status(declined))
    if declined.closes:
        response.force_close()
    return response


def as_status(declined: Declined) -> Document:
    """The error as the API server's own."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(declined),
        "reason": declined.reason or _REASONS.get(declined.status, "InternalError"),
        "code": declined.status,
    }


def of_error(error: StromboliError) -> Declined:
    """What one of REPORTED means for whoever asked."""
    match error:
        case Declined():
            return error
        case Refused(reason=Reason.InvalidSpec):
            return Declined(400, str(error), Reason.InvalidSpec.name)
        case Refused():
            return Declined(403, str(error), error.reason.name)
        case ImageMissing():
            return Declined(404, str(error), "ImageMissing")
        case _:
            return Declined(503, str(error))


def json_answer(status: int, body: Document, headers: Mapping[str, str] | None = None) -> web.Response:
    """The document as a response."""
    return web.Response(status=status, body=encoded(body), content_type="application/json", headers=headers)


def encoded(body: Document) -> bytes:
    """The document as JSON on one line; what is no text in UTF-8 is replaced."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
