"""What a gate before a start may say, as a value: go on, refuse, wait. Pure.

Checks deep inside a gate may raise Refused or Waiting, and what Podman and the node say comes as an error:
`verdict` is the one map from those to what they mean for a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from stromboli import errors
from stromboli.reasons import Reason

PROGRESS_EVERY = 2.0  # seconds between checks of a pull


@dataclass(frozen=True, slots=True)
class GoOn:
    """The next gate is asked."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The run ends."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The run is checked again after `delay` seconds, or when it is woken.

    `in_line` says that all is there, and that only others start before it on this node.
    """

    reason: Reason
    message: str
    delay: float
    in_line: bool = False


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """Another node's operator has the run's session, and with it the run."""


Stop = Refuse | Wait | LeaveAlone
Verdict = GoOn | Stop
GO_ON = GoOn()
# What may stop a start. ClusterUnavailable does so in reads only: writes are tried again.
STOPPING = (
    errors.Refused,
    errors.Waiting,
    errors.Elsewhere,
    errors.PodmanError,
    errors.PodmanUnavailable,
    errors.Pulling,
    errors.Building,
    errors.ImageMissing,
    errors.CLIUnavailable,
    errors.LabelsLost,
    errors.Swapped,
    errors.LocalFailure,
    OSError,
)


def verdict(error: Exception) -> Stop:
    """What an error, one of STOPPING or ClusterUnavailable, means for a run that has not begun."""
    match error:
        case errors.Refused():
            return Refuse(error.reason, error.message)
        case errors.Waiting():
            return Wait(error.reason, error.message, error.delay)
        case errors.Elsewhere():
            return LeaveAlone()
        case errors.ClusterUnavailable():
            # It may be one Secret that may not be read; if it is the whole API server, saying so fails as well.
            return Wait(Reason.WaitingForReference, str(error), 5.0)
        case errors.LocalFailure() | OSError():
            return _of_the_folders(error)
        case _:
            return _of_the_node(error)


def _of_the_node(error: Exception) -> Stop:
    """What Podman, or a part of node/, says."""
    match error:
        case errors.Pulling():
            return Wait(Reason.Pulling, str(error), PROGRESS_EVERY)
        case errors.Building():
            return Wait(Reason.StartingServices, str(error), PROGRESS_EVERY)
        case errors.BuildFailed():
            return Refuse(Reason.ServiceFailed, str(error))
        case errors.ImageMissing():
            return Refuse(Reason.ImagePullFailed, str(error))
        case errors.CLIUnavailable():
            return Wait(Reason.CLIImageUnavailable, str(error), error.delay)
        case errors.LabelsLost():
            return Refuse(Reason.PolicyViolation, str(error))
        case errors.Swapped():
            return Wait(Reason.WaitingForReference, f"{error}; tried again soon", 2.0)
        case errors.PullFailed() if error.permanent:
            return Refuse(Reason.ImagePullFailed, f"{error}; {error.problem.remedy}")
        case errors.PullFailed():
            return Wait(Reason.RegistryUnavailable, f"{error}; {error.problem.remedy}", 10.0)
        case errors.NoSpace():
            return Wait(Reason.NodeOutOfDisk, f"{error}; goes on when there is room on the node", 10.0)
        case errors.PodmanUnavailable():
            return Wait(Reason.PodmanUnavailable, f"{error}; goes on when Podman answers again", 2.0)
        case _:
            return Wait(Reason.PodmanUnavailable, f"Podman refuses: {error}; tried again soon", 10.0)


def _of_the_folders(error: Exception) -> Wait:
    """The operator's own folders cannot be used. Nothing can be started then, which is what this reason says."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    return Wait(Reason.PodmanUnavailable, f"the operator's folders on the node: {text}; tried again soon", 10.0)
