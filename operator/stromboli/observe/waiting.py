"""What a run waits for: raised by lookups, turned into a condition with a delay by the reconciler."""

from __future__ import annotations

from stromboli import errors
from stromboli.models.reasons import Reason
from stromboli.plan.refusal import Refused


class Waiting(Exception):
    """Something is missing or away; look again after `delay` seconds (or when woken)."""

    def __init__(self, reason: Reason, message: str, delay: float = 5.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.delay = delay


def from_podman(error: errors.StromboliError) -> Waiting | Refused:
    """The one map from what Podman says to what the run does about it."""
    match error:
        case errors.PullFailed(permanent=True):
            return Refused(Reason.ImagePullFailed, f"{error}; check the image's name and tag")
        case errors.PullFailed():
            return Waiting(Reason.RegistryUnavailable, f"{error}; asked again soon", 10.0)
        case errors.NoSpace():
            return Waiting(Reason.NodeOutOfDisk, f"{error}; goes on when there is room on the node", 10.0)
        case errors.PodmanUnavailable():
            return Waiting(Reason.PodmanUnavailable, f"{error}; goes on when Podman answers again", 2.0)
        case _:
            return Waiting(Reason.PodmanUnavailable, f"Podman refuses: {error}; tried again soon", 10.0)


def from_node(error: errors.LocalFailure | OSError) -> Waiting:
    """The operator's own folders cannot be used. Nothing can be started then, which is what this reason says."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    return Waiting(Reason.PodmanUnavailable, f"the operator's folders on the node: {text}; tried again soon", 10.0)
