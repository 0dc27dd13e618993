"""The exception that ends a request with an HTTP error status."""

from __future__ import annotations

from stromboli.errors import StromboliError


class Declined(StromboliError):
    """The request is declined with this HTTP status; the message is sent to the client, and so is the reason, by which
    a program tells apart what it may be about. The connection `closes` if another one may be answered differently.
    """

    def __init__(self, status: int, message: str, reason: str = "", *, closes: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.closes = closes
