"""Exit codes by which a script can tell apart how a run ended, and why a command about images failed. 1 stands for
everything else.
"""

from __future__ import annotations

from stromboli.reasons import PresentReason, Reason
from stromboli.registry_problem import RegistryProblem

# Of runs.
FAILED = 1
REFUSED = 2  # as it stands it can never start: by the API server, a policy, or what is in the image
CANCELED = 3
NOT_YET = 4  # `stromboli wait` has waited for as long as it should
TIMED_OUT = 124  # as for timeout(1)
DETACHED = 130  # the run goes on

_OF_RUNS: dict[str, int] = {
    Reason.Completed: 0,
    Reason.InvalidSpec: REFUSED,
    Reason.ImageNotAllowed: REFUSED,
    Reason.ImageIncompatible: REFUSED,
    Reason.ImagePullFailed: REFUSED,
    Reason.PolicyViolation: REFUSED,
    Reason.CredentialsMissing: REFUSED,
    Reason.Canceled: CANCELED,
    Reason.TimedOut: TIMED_OUT,
}

# Of images.
NOT_ALLOWED = 10  # by a policy, or by the user's permissions
NO_SUCH_IMAGE = 11
NO_ACCESS = 12  # to the image in its registry
REGISTRY_AWAY = 13
NOT_COMPATIBLE = 14  # the image is here, and the Claude CLI cannot run in it

# By the reason of an AgentImage's condition `Ready`, or of the read API, which has two of its own.
_BY_REASON: dict[str, int] = {
    "Forbidden": NOT_ALLOWED,
    "ImageMissing": NO_SUCH_IMAGE,
    PresentReason.ImageNotAllowed: NOT_ALLOWED,
    PresentReason.PolicyViolation: NOT_ALLOWED,
    PresentReason.ImagePullFailed: NO_SUCH_IMAGE,
    PresentReason.RegistryUnavailable: REGISTRY_AWAY,
}
_BY_PROBLEM = {
    RegistryProblem.NOT_FOUND: NO_SUCH_IMAGE,
    RegistryProblem.NO_PLATFORM: NO_SUCH_IMAGE,
    RegistryProblem.DENIED: NO_ACCESS,
}


def of_run(reason: str) -> int:
    """The exit code for a run that has ended for a reason; one that is not known here is of a newer operator."""
    return _OF_RUNS.get(reason, FAILED)


def of_reason(reason: str) -> int:
    """The exit code for a reason about an image."""
    return _BY_REASON.get(reason, 1)


def of_problem(problem: str) -> int | None:
    """The exit code for what is wrong with a registry (a value of RegistryProblem); None if nothing is."""
    return _BY_PROBLEM.get(RegistryProblem(problem), REGISTRY_AWAY) if problem in set(RegistryProblem) else None
