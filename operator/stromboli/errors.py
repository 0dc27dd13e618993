"""All of the project's exceptions, and nothing else.

StromboliError
├── InvalidInput          user input is wrong: the message says which field, and what is valid
│   └── InvalidSettings   … in the operator's own settings: it does not start
├── OutOfBounds           a document is larger or deeper than it may be (also a ValueError, like a parser's errors)
├── UnusableSchema        a JSON Schema cannot be used (also a ValueError)
├── InvalidElf            a file is not a valid ELF file
├── InvalidDatabase       a package database in an image is truncated or inconsistent
├── ComposeProblem        a compose file cannot be used: which key, and where
│   └── NotPermitted      … because a policy does not allow it
├── Unreadable            a file that a compose file names cannot be read
├── Refused               a run cannot proceed as specified: it ends with a reason and a message
├── Waiting               something that a run needs is missing or unavailable: retry later
├── Elsewhere             another node's operator is responsible
├── PodmanError           Podman answered with an error
│   ├── NotFound          … the object does not exist
│   ├── NotRegular        … the path in a container is not a regular file
│   ├── TooLarge          … a folder in a container has more than was to be read of it
│   ├── NoSpace           … the disk is full
│   ├── Unstartable       … a container cannot be started, also not a moment later
│   │   ├── Unmountable       … the runtime cannot mount something at its target in it
│   │   └── TooLittleMemory   … the runtime cannot start it within its memory limit
│   ├── PullFailed        … an image could not be pulled (see `problem`)
│   └── BuildFailed       … an image could not be built (see `output`)
├── PodmanUnavailable     Podman did not answer: the outcome is unknown, retry
├── RegistryError         a registry did not say what the operator asked it (see `problem`)
├── Pulling               an image is being pulled to the node
├── ImageMissing          an image is not on the node, and pulling it is not allowed
├── ServiceFailed         a service of a stack did not get ready, so the stack's start is over
├── Swapped               what a container has mounted is not what was checked
├── CLIUnavailable        the Claude CLI's image is not on the node, or does not contain the CLI
├── LabelsLost            a container has one of our names, but not our labels
├── Unanswered            a file system of the node does not respond
├── ClusterUnavailable    the API server did not answer: the outcome is unknown, retry
├── HttpFailed            a call over HTTP got no answer, or a part of one (`podman` and `kube` say whose)
│   ├── HttpSilent        … the server was silent for too long
│   └── HttpRefused       … the API server answered with an error
├── Conflict              the object has changed since it was read, or is gone: read it again
├── Rejected              the API server will never accept what was written
├── Oversized             a run's spec leaves no space for its status
├── NotDelivered          a notification of a run's end was not delivered
├── PartDied              a part of the operator has failed: the process exits
└── LocalFailure          a command failed on the user's machine: the message says what to do
    ├── ApiUnreachable    … the API server of the kubeconfig did not answer, or the connection was lost
    └── ApiRefused        … the API server of the kubeconfig answered with an error
"""

from __future__ import annotations

from stromboli.reasons import Reason
from stromboli.registry_problem import RegistryProblem


class StromboliError(Exception):
    """Base class of every exception raised deliberately; `str()` of it is a sentence for the user."""


class InvalidInput(StromboliError):
    """User input is wrong. `field` is its path (`spec.image`), empty if the caller adds it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message = message
        self.field = field


class InvalidSettings(InvalidInput):
    """The operator's settings are invalid; it does not start."""


class OutOfBounds(StromboliError, ValueError):
    """A document exceeds its bounds. `str()` of it is a predicate that continues "the document …"."""


class UnusableSchema(StromboliError, ValueError):
    """The schema cannot be used. `str()` of it is a predicate that continues "spec.claude.jsonSchema …"."""


class InvalidElf(StromboliError):
    """The bytes are not an ELF file, or one that is truncated or inconsistent."""


class InvalidDatabase(StromboliError):
    """The bytes are no package database, or one that is truncated or inconsistent."""


class ComposeProblem(StromboliError):
    """A compose file cannot be used. `str()` of it is a sentence with the file, the line and the key.

    `key` is the key's path (`services.db.cap_add[0]`), `file` for a file as a whole, or empty if only a line is known.
    `where` is `file:line`. The message has at most a short, escaped piece of the file's text.
    """

    def __init__(self, key: str, what: str, where: str = "") -> None:
        super().__init__(": ".join(part for part in (where, key, what) if part))
        self.key, self.what, self.where = key, what, where


class NotPermitted(ComposeProblem):
    """A policy does not allow what the compose file asks for."""


class Unreadable(StromboliError):
    """A file cannot be read. `str()` of it is a predicate that continues "the file …".

    `missing` if none is there; not `permitted` if a policy does not allow it to be read.
    """

    def __init__(self, what: str, *, missing: bool = False, permitted: bool = True) -> None:
        super().__init__(what)
        self.missing = missing
        self.permitted = permitted


class Refused(StromboliError):
    """The run cannot proceed as specified; retrying would not help."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Waiting(StromboliError):
    """Something is missing or unavailable; reconcile again after `delay` seconds, or earlier if woken."""

    def __init__(self, reason: Reason, message: str, delay: float = 5.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.delay = delay


class Elsewhere(StromboliError):
    """Another node's operator is responsible for this."""


class PodmanError(StromboliError):
    """Podman answered with an error. `status` is the HTTP code (200 for a failed pull, whose error is in the body)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(PodmanError):
    """Podman has no such container, image, volume, network or path."""


class NotRegular(PodmanError):
    """A path in a container is not a regular file."""


class TooLarge(PodmanError):
    """A folder in a container is larger than what was to be read of it."""


class NoSpace(PodmanError):
    """Podman's disk, or the operator's own, is full."""


class Unstartable(PodmanError):
    """A container cannot be started, also not a moment later: as it was created, or with a port that another one has,
    or on a node that has no network for it.
    """


class Unmountable(Unstartable):
    """The mount at `target` does not fit the file type found there; `why` is the kernel's error message."""

    def __init__(self, message: str, status: int, target: str, why: str) -> None:
        super().__init__(message, status)
        self.target = target
        self.why = why


class TooLittleMemory(Unstartable):
    """A container's memory limit is lower than what starting it takes."""


class PullFailed(PodmanError):
    """An image could not be pulled. `retry_after` are the seconds that its registry asked to wait."""

    def __init__(self, message: str, problem: RegistryProblem, retry_after: float | None = None) -> None:
        super().__init__(message, status=200)
        self.problem = problem
        self.retry_after = retry_after

    @property
    def permanent(self) -> bool:
        """Whether retrying will not help."""
        return self.problem.permanent


class BuildFailed(PodmanError):
    """An image could not be built. `output` is the end of what the build wrote, in the words of its Dockerfile."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message, status=200)
        self.output = output


class RegistryError(StromboliError):
    """A registry refused, or did not answer as registries do. `retry_after` are the seconds that it asked to wait."""

    def __init__(self, message: str, problem: RegistryProblem, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.retry_after = retry_after


class PodmanUnavailable(StromboliError):
    """Podman's socket is missing, refuses connections, or was closed in the middle of a response."""


class Pulling(StromboliError):
    """An image is being pulled; `str()` of it is the progress."""


class Building(StromboliError):
    """An image is being built for a stack; the message has the progress."""


class ImageMissing(StromboliError):
    """An image is not on the node and pulling it is not allowed; `str()` of it says why, and what to do."""


class CLIUnavailable(StromboliError):
    """The Claude CLI cannot be mounted; retry after `delay` seconds."""

    def __init__(self, message: str, delay: float = 10.0) -> None:
        super().__init__(message)
        self.delay = delay


class ServiceFailed(StromboliError):
    """A stack cannot be brought up because of a service: `what` is a predicate of it, `at` the key that asked for more
    than it does, `output` the end of what it has printed.
    """

    def __init__(self, service: str, at: str, what: str, output: str) -> None:
        super().__init__(f"the service {service} {what}")
        self.service, self.at, self.what, self.output = service, at, what, output


class Swapped(StromboliError):
    """What a container would have mounted at `target` is not what was checked. `str()` of it is a sentence."""

    def __init__(self, target: str, why: str) -> None:
        super().__init__(f"nothing was mounted at {target}: {why}")
        self.target = target


class LabelsLost(StromboliError):
    """A container has one of our names, but not the labels that identify it."""


class Unanswered(StromboliError):
    """A file system of the node does not respond."""

    def __init__(self, mount: str) -> None:
        super().__init__(f"the file system at {mount} on the node does not respond; waiting until it does")
        self.mount = mount


class ClusterUnavailable(StromboliError):
    """The API server cannot be reached, or the connection was lost in the middle of a response."""


class HttpFailed(StromboliError):
    """A call over HTTP failed. `podman` and `kube` map it to errors of their own: it says nothing about whose it is."""


class HttpUnsent(HttpFailed):
    """There was no connection to the server, so nothing was sent."""


class HttpSilent(HttpFailed):
    """The server accepted the call and then sent nothing for too long."""


class HttpRefused(HttpFailed):
    """The API server answered with `status`, which is no success; `str()` of it is its own message."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotDelivered(StromboliError):
    """A notification was not delivered. `str()` of it is a clause with the receiver's scheme and host, and nothing else
    of its URL. `refused` says that it was not sent, since no address of the receiver may be called.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class PartDied(StromboliError):
    """A part of the operator has failed, or one that should run forever has returned; the process exits."""


class LocalFailure(StromboliError):
    """A step on the local machine failed; `hint` is what the user can do about it, `code` the command's exit code."""

    def __init__(self, message: str, hint: str = "", code: int = 1) -> None:
        super().__init__(f"{message}\n  → {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.code = code


class ApiUnreachable(LocalFailure):
    """The API server of the user's kubeconfig did not answer, or the connection was lost: the outcome is unknown."""


class ApiAbsent(ApiUnreachable):
    """There was no connection to the API server, so nothing was sent to it."""


class ApiRefused(LocalFailure):
    """The API server of the user's kubeconfig answered with an error: its HTTP status, and the reason in its terms."""

    def __init__(self, message: str, hint: str, status: int, reason: str) -> None:
        super().__init__(message, hint)
        self.status = status
        self.reason = reason

    @property
    def is_transient(self) -> bool:
        """Whether an API server, or what is before it, is only starting or overloaded: the same may succeed soon."""
        return self.status in (429, 500, 502, 503, 504)


class Conflict(StromboliError):
    """The object has changed since it was read, or is gone: read it again."""


class Rejected(StromboliError):
    """The API server will never accept what was written: it is too large, or violates the schema."""


class Oversized(StromboliError):
    """A run's spec is larger than MAX_SPEC, so that its status may not fit."""
