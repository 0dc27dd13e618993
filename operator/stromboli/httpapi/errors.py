"""What ends a call with an error, and the form in which every error is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from stromboli.errors import ApiRefused, ApiUnreachable, LocalFailure, StromboliError

# The API server's reasons, where an error has none of its own.
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "Timeout",
    409: "Conflict",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    502: "BadGateway",
    503: "ServiceUnavailable",
}
GONE = 499  # the client has hung up: nobody reads this status, which is for the log
STOPPED = "GatewayStopped"  # the reason of what is answered to calls that a gateway has no time for any more
_RETRY_AFTER = 1  # seconds, where nobody says how long
_NOT_ACCEPTED = (
    "the API server does not accept the token, which may have expired; `kubectl create token SERVICEACCOUNT` prints a "
    "new one"
)


class ErrorAnswer(BaseModel):
    """Every error."""

    status: Literal["error"] = "error"
    error: str = Field(description="What is wrong, and what would be right.")
    reason: str = Field(description="The same for programs, in one word.")
    details: dict[str, Any] = Field(default_factory=dict, description="What belongs to it, such as the field's name.")


class Refusal(StromboliError):
    """The call is answered with this HTTP status; `error` is a sentence for people, `reason` a word for programs."""

    def __init__(
        self,
        status: int,
        error: str,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.reason = reason or _REASONS.get(status, "Error")
        self.details = dict(details or {})
        self.headers = dict(headers or {})
        if status == 429:
            self.headers.setdefault("Retry-After", str(_RETRY_AFTER))

    def answer(self) -> ErrorAnswer:
        return ErrorAnswer(error=self.error, reason=self.reason, details=self.details)


def invalid(field: str, why: str) -> Refusal:
    """The refusal of a request because of one of its fields, which is named by its path; of the whole, if empty."""
    return Refusal(400, f"{field}: {why}" if field else why, "InvalidRequest", {"field": field} if field else {})


def refusal_of(error: Refusal | LocalFailure) -> Refusal:
    """How a call is answered that has ended with this error. What the API server says of an object that it does not
    accept (422) is a bad request; its own troubles, or none of its answers, are a 503.
    """
    match error:
        case Refusal():
            return error
        case ApiRefused(status=422):
            return Refusal(400, error.message, error.reason or "Invalid")
        case ApiRefused(status=401):
            return Refusal(401, f"{_NOT_ACCEPTED}: {error.message}", error.reason)
        case ApiRefused(status=400 | 403 | 404 | 409 | 413 | 429 as status):
            return Refusal(status, error.message, error.reason)
        case ApiRefused() | ApiUnreachable():
            return Refusal(503, error.message)
        case _:
            return Refusal(400, error.message)


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: the errors that it can answer, besides those that each can (app.py)."""
    return {status: {"model": ErrorAnswer, "description": _REASONS[status]} for status in statuses}
