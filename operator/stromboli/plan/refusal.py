"""A refusal: a reason out of the documented enum and a sentence. Raised by checks, turned into a condition."""

from __future__ import annotations

from stromboli.errors import Refused
from stromboli.plan.verdict import Refuse
from stromboli.reasons import Reason


def invalid(field: str, message: str) -> Refused:
    """A spec that is wrong at `field`."""
    return Refused(Reason.InvalidSpec, f"{field}: {message}")


# Refusals for what somebody wrote: another run, after a correction, may well be let in.
_CORRECTABLE = frozenset(
    {
        Reason.InvalidSpec,
        Reason.PolicyViolation,
        Reason.ImageNotAllowed,
        Reason.ImageIncompatible,
        Reason.ImagePullFailed,
        Reason.CredentialsMissing,
    }
)
AFTERWARDS = "once that is corrected, delete this run and create it again, since the spec of a run cannot be changed"


def as_outcome(problem: Refuse) -> str:
    """The refusal as the end of a run, which is not tried again by itself."""
    return f"{problem.message}; {AFTERWARDS}" if problem.reason in _CORRECTABLE else problem.message
