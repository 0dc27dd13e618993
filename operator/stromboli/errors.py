"""The project's own errors: all of them, and nothing else.

StromboliError
├── InvalidInput          a person wrote something wrong: the message says which field and what is right
│   └── InvalidSettings   … in the operator's own settings: the start stops
├── OutOfBounds           a document is larger or deeper than it may be (also a ValueError, as a parser's errors are)
├── UnusableSchema        a JSON Schema cannot be used (also a ValueError)
├── InvalidElf            a file is not the ELF file that it should be
├── Refused               a run cannot go on as it stands: it ends, with a reason and a message
├── Waiting               something that a run needs is missing or away: look again later
│   └── InLine            … its start, for which others come first
├── Elsewhere             another node's operator has to do this
├── PodmanError           Podman answered, and the answer is no
│   ├── NotFound          … there is no such object
│   ├── NoSpace           … the disk is full
│   ├── Unmountable       … the runtime cannot mount something at its place in this container
│   ├── TooLittleMemory   … the runtime cannot start a container in so little
│   └── PullFailed        … the registry said no, or cannot be reached (`permanent` tells which)
├── PodmanUnavailable     Podman did not answer: nothing is known, try again
├── Pulling               an image is on its way to the node
├── ImageMissing          an image is not on the node, and may not be pulled
├── CLIUnavailable        the Claude CLI's image is not on the node, or has no CLI in it
├── LabelsLost            a container of ours has lost the labels that say what it is
├── Unanswered            a file system of the node does not answer
├── ClusterUnavailable    the API server did not answer: nothing is known, try again
├── Conflict              the API server has a later version of what was to be written: read it again
├── Rejected              the API server will never take what was written
├── Oversized             a run's spec leaves no room for its status
├── PartDied              a part of the operator has died: the process ends
└── LocalFailure          a step of `stromboli up` or the demo failed: the message says what to do
"""

from __future__ import annotations

from stromboli.reasons import Reason


class StromboliError(Exception):
    """Base of everything raised on purpose; `str()` of it is a sentence for a person."""


class InvalidInput(StromboliError):
    """Something a person wrote is wrong. `field` is its path (`spec.image`), empty where the caller knows it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message = message
        self.field = field


class InvalidSettings(InvalidInput):
    """The operator's settings are wrong; it does not start with them."""


class OutOfBounds(StromboliError, ValueError):
    """A document is larger than it may be. `str()` of it goes on with "the document …"."""


class UnusableSchema(StromboliError, ValueError):
    """The schema cannot be used; `str()` of it goes on with "spec.claude.jsonSchema …"."""


class InvalidElf(StromboliError):
    """The bytes are not an ELF file, or one that is cut short or contradicts itself."""


class Refused(StromboliError):
    """The run cannot go on as it stands; trying again changes nothing."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Waiting(StromboliError):
    """Something is missing or away; look again after `delay` seconds (or when woken)."""

    def __init__(self, reason: Reason, message: str, delay: float = 5.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.delay = delay


class InLine(Waiting):
    """The node starts as much as it may, and others come first; the run is woken when it is let in."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.Queued, message, 60.0)


class Elsewhere(StromboliError):
    """Another node's operator has to do this."""


class PodmanError(StromboliError):
    """Podman refused a call. `status` is the HTTP code (200 for a failed pull, whose error is in the body)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(PodmanError):
    """Podman has no such container, image, volume, network or path."""


class NoSpace(PodmanError):
    """Podman's disk, or the operator's own, is full."""


class Unmountable(PodmanError):
    """What is to be mounted at `target` does not fit what is there; `why` are the kernel's words."""

    def __init__(self, message: str, status: int, target: str, why: str) -> None:
        super().__init__(message, status)
        self.target = target
        self.why = why


class TooLittleMemory(PodmanError):
    """The memory limit of a container is less than what its own start takes."""


class PullFailed(PodmanError):
    """An image could not be pulled; `permanent` means that asking again will not help."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message, status=200)
        self.permanent = permanent


class PodmanUnavailable(StromboliError):
    """The socket is gone, refused, or broke in the middle of an answer."""


class Pulling(StromboliError):
    """An image is being pulled; `str()` of it says how far that is."""


class ImageMissing(StromboliError):
    """An image is not on the node and may not be pulled; `str()` of it says why, and what to do."""


class CLIUnavailable(StromboliError):
    """The Claude CLI cannot be mounted; look again after `delay` seconds."""

    def __init__(self, message: str, delay: float = 10.0) -> None:
        super().__init__(message)
        self.delay = delay


class LabelsLost(StromboliError):
    """A container has a name of ours, and not the labels that say what it is."""


class Unanswered(StromboliError):
    """A file system of the node does not answer."""

    def __init__(self, mount: str) -> None:
        super().__init__(f"the file system at {mount} on the node does not answer; goes on when it does")
        self.mount = mount


class ClusterUnavailable(StromboliError):
    """The API server is away or broke in the middle of an answer."""


class PartDied(StromboliError):
    """A part of the operator that is to last as long as the process has ended; the log has its traceback."""


class LocalFailure(StromboliError):
    """A step on this machine failed; `hint` is what the person can do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  → {hint}" if hint else message)
        self.hint = hint


class Conflict(StromboliError):
    """The object has changed since it was read, or is gone: look again."""


class Rejected(StromboliError):
    """The API server will not take what was written, however often it is asked: too large, or against the schema."""


class Oversized(StromboliError):
    """A run's spec is larger than MAX_SPEC, so that its status may not fit."""
