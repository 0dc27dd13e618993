"""A refusal: a documented reason and a sentence. Checks raise it, and it becomes a condition."""

from __future__ import annotations

from stromboli.errors import Refused
from stromboli.plan.verdict import Refuse
from stromboli.reasons import Reason


def invalid(field: str, message: str) -> Refused:
    """The refusal of a spec with an invalid `field`."""
    return Refused(Reason.InvalidSpec, f"{field}: {message}")


# Refusals that a user can fix: another run, after a correction, may be accepted.
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
    """The refusal as the message of a run that has ended, and is not retried automatically."""
    return f"{problem.message}; {AFTERWARDS}" if problem.reason in _CORRECTABLE else problem.message
