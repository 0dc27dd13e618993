"""The reasons of conditions, one enum per condition. The table in docs/reference.md is generated from these texts."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reasons of `Succeeded`, each with the condition's status and its description in the reference."""

    text: str
    status: str

    def __new__(cls, value: str, status: str, text: str) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.text = text
        return member

    Queued = (
        "Queued",
        "Unknown",
        "Another run holds the session, or the node is at its limit of starts or of runs; the message names that run,"
        " or the place in line. Time spent here does not count against `timeout`.",
    )
    Pulling = "Pulling", "Unknown", "The image is being pulled; the message shows the progress."
    Starting = "Starting", "Unknown", "The attempt has been recorded; the container is being created and started."
    RunningHooks = "RunningHooks", "Unknown", "The `lifecycle` commands are running; the agent starts next."
    Running = "Running", "Unknown", "The agent is running."
    WaitingForReference = (
        "WaitingForReference",
        "Unknown",
        "A ConfigMap or Secret that the run references, or a key in it, does not exist yet.",
    )
    CLIImageUnavailable = (
        "CLIImageUnavailable",
        "Unknown",
        "The Claude CLI image is not on the node and could not be pulled, or pulling it is not allowed.",
    )
    PodmanUnavailable = (
        "PodmanUnavailable",
        "Unknown",
        "Podman does not respond, or refuses to start the container.",
    )
    RegistryUnavailable = (
        "RegistryUnavailable",
        "Unknown",
        "The registry cannot be reached; the pull is retried with backoff.",
    )
    NodeOutOfDisk = "NodeOutOfDisk", "Unknown", "The node's disk is full; the run continues once there is space."

    InvalidSpec = (
        "InvalidSpec",
        "False",
        "The spec is invalid; the message names the field and what it should be.",
    )
    ImageNotAllowed = "ImageNotAllowed", "False", "No pattern of the allowlist matches the image."
    ImageIncompatible = (
        "ImageIncompatible",
        "False",
        "The Claude CLI cannot run in the image; the message says what was found.",
    )
    ImagePullFailed = (
        "ImagePullFailed",
        "False",
        "The registry does not have the image or denies access to it, or pulling is disabled.",
    )
    PolicyViolation = (
        "PolicyViolation",
        "False",
        "A policy forbids something in the spec, or two policies contradict each other.",
    )
    CredentialsMissing = "CredentialsMissing", "False", "No source of Claude credentials is configured."
    HookFailed = (
        "HookFailed",
        "False",
        "A `lifecycle` command failed, or they took too long; the message says which, and ends with its last output.",
    )
    AgentFailed = (
        "AgentFailed",
        "False",
        "The CLI exited with an error; the message has the last lines of its output.",
    )
    MaxTurnsReached = "MaxTurnsReached", "False", "The agent used up `claude.maxTurns`."
    BudgetExceeded = "BudgetExceeded", "False", "The agent used up `claude.maxBudgetUSD`."
    OutOfMemory = (
        "OutOfMemory",
        "False",
        "The kernel killed the agent because it ran out of memory; raise `resources.memory`.",
    )
    TimedOut = (
        "TimedOut",
        "False",
        "The attempt, or the wait for something missing, exceeded `timeout`.",
    )
    Canceled = "Canceled", "False", "The run was stopped from outside: its session was deleted."
    ContainerLost = (
        "ContainerLost",
        "False",
        "The container was killed or removed, or the machine restarted, before the agent had finished; the message "
        "says whether the prompt may have been sent.",
    )

    Completed = "Completed", "True", "The agent finished; `status.result` has its last message."


class AllowedReason(StrEnum):
    """Reasons of the condition `Allowed`."""

    Allowed = "Allowed"
    NoAllowlist = "NoAllowlist"
    ImageNotAllowed = "ImageNotAllowed"
    PolicyViolation = "PolicyViolation"


class ReadyReason(StrEnum):
    """Reasons of an AgentSession's condition `Ready`."""

    Available = "Available"
    InUse = "InUse"
    Leaving = "Leaving"
    Expired = "Expired"
    VolumeLost = "VolumeLost"


class AcceptedReason(StrEnum):
    """Reasons of an AgentPolicy's condition `Accepted`."""

    Accepted = "Accepted"
    Invalid = "Invalid"


class EffectiveReason(StrEnum):
    """Reasons of an AgentPolicy's condition `Effective`."""

    Effective = "Effective"
    Contradiction = "Contradiction"
    Invalid = "Invalid"


def as_markdown() -> str:
    """The table of reasons for docs/reference.md."""
    rows = ["| Reason | `Succeeded` | What it means |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{reason}` | {reason.status} | {reason.text} |" for reason in Reason)])
