"""The reasons of conditions: one documented enum each. The table in docs/reference.md is generated from these texts."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reasons of `Succeeded`. The text beside each is what a person reads in the reference."""

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
        "Another run has the session, or others start on the node before it; the message says which, or its place in"
        " the line. Does not count against `timeout`.",
    )
    Pulling = "Pulling", "Unknown", "The image is being pulled; the message has the progress."
    Starting = "Starting", "Unknown", "The container is being made and started; the attempt is written down."
    RunningHooks = (
        "RunningHooks",
        "Unknown",
        "The commands of `lifecycle` run; the agent is next.",
    )
    Running = "Running", "Unknown", "The agent is at work."
    WaitingForReference = (
        "WaitingForReference",
        "Unknown",
        "A ConfigMap or Secret (or a key in it) that the run names is not there yet.",
    )
    CLIImageUnavailable = (
        "CLIImageUnavailable",
        "Unknown",
        "The Claude CLI's image is not on the node and could not be pulled, or may not be.",
    )
    PodmanUnavailable = (
        "PodmanUnavailable",
        "Unknown",
        "Podman does not answer, or refuses to start the container.",
    )
    RegistryUnavailable = (
        "RegistryUnavailable",
        "Unknown",
        "The registry cannot be reached; asked again with backoff.",
    )
    NodeOutOfDisk = "NodeOutOfDisk", "Unknown", "The node's disk is full; goes on when there is room."

    InvalidSpec = (
        "InvalidSpec",
        "False",
        "The spec is wrong; the message names the field and what would be right.",
    )
    ImageNotAllowed = "ImageNotAllowed", "False", "No pattern of the allowlist matches the image."
    ImageIncompatible = (
        "ImageIncompatible",
        "False",
        "The Claude CLI cannot run in the image; says what was found.",
    )
    ImagePullFailed = (
        "ImagePullFailed",
        "False",
        "The registry has no such image, or refuses it; or pulling is off.",
    )
    PolicyViolation = (
        "PolicyViolation",
        "False",
        "A policy forbids something, or two policies contradict each other.",
    )
    CredentialsMissing = "CredentialsMissing", "False", "No source of credentials for Claude is configured."
    HookFailed = (
        "HookFailed",
        "False",
        "A command of `lifecycle` failed, or they took too long; says which, and what it wrote last.",
    )
    AgentFailed = (
        "AgentFailed",
        "False",
        "The CLI ended with an error; the message has the last lines it wrote.",
    )
    MaxTurnsReached = "MaxTurnsReached", "False", "The agent used up `claude.maxTurns`."
    BudgetExceeded = "BudgetExceeded", "False", "The agent used up `claude.maxBudgetUSD`."
    OutOfMemory = (
        "OutOfMemory",
        "False",
        "The kernel killed the agent for lack of memory; raise `resources.memory`.",
    )
    TimedOut = (
        "TimedOut",
        "False",
        "The attempt, or the wait for something missing, took longer than `timeout`.",
    )
    Canceled = "Canceled", "False", "The run was ended from outside: its session was deleted."
    ContainerLost = (
        "ContainerLost",
        "False",
        "The container was killed or removed, or the machine restarted, before the agent was through; the message says "
        "whether the prompt may have been sent.",
    )

    Completed = "Completed", "True", "The agent answered; `status.result` has its last message."


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
    """The table of reasons, as docs/reference.md has it."""
    rows = ["| Reason | `Succeeded` | What it means |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{reason}` | {reason.status} | {reason.text} |" for reason in Reason)])
