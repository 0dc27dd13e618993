"""What a request ends with when it is not answered."""

from __future__ import annotations

from stromboli.errors import StromboliError


class Declined(StromboliError):
    """Said to whoever asked, with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
