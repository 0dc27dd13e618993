"""A refusal: a reason out of the documented enum and a sentence. Raised by checks, turned into a condition."""

from __future__ import annotations

from stromboli.models.reasons import Reason


class Refused(Exception):
    """The run cannot go on as it stands; trying again changes nothing."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def invalid(field: str, message: str) -> Refused:
    """A spec that is wrong at `field`."""
    return Refused(Reason.InvalidSpec, f"{field}: {message}")
