"""What Podman and the node say → what it means for a run: an end, or a wait. Pure."""

from __future__ import annotations

from stromboli import errors
from stromboli.errors import Refused, Waiting
from stromboli.reasons import Reason

NODE = (
    errors.PodmanError,
    errors.PodmanUnavailable,
    errors.Pulling,
    errors.ImageMissing,
    errors.CLIUnavailable,
    errors.LabelsLost,
)
PROGRESS_EVERY = 2.0  # seconds between looks at a pull


def from_podman(error: errors.StromboliError) -> Waiting | Refused:
    """The one map from what Podman and the node say (any of NODE) to what the run does about it."""
    match error:
        case errors.Pulling():
            return Waiting(Reason.Pulling, str(error), PROGRESS_EVERY)
        case errors.ImageMissing():
            return Refused(Reason.ImagePullFailed, str(error))
        case errors.CLIUnavailable():
            return Waiting(Reason.CLIImageUnavailable, str(error), error.delay)
        case errors.LabelsLost():
            return Refused(Reason.PolicyViolation, str(error))
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
