"""Condition types and condition reasons: all of them, each with a text for docs/reference.md.

None is written as a plain string anywhere else (tests/unit/test_reasons.py). Those of events are in event_reasons.py.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Base of the condition types of each kind. `text` says what the condition means when it is True."""

    text: str

    def __new__(cls, value: str, text: str) -> ConditionType:
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


class RunCondition(ConditionType):
    """The condition types of an AgentRun."""

    Succeeded = (
        "Succeeded",
        "The agent finished; False means that the run failed, Unknown that it has not ended yet.",
    )
    Allowed = "Allowed", "The policies allow the run's image and everything else that the run asks for."
    Finished = "Finished", "The run has ended, whether it succeeded or failed."
    Reconciling = "Reconciling", "The run has not ended yet; for tools that follow kstatus."
    Stalled = "Stalled", "The run failed; for tools that follow kstatus."


class SessionCondition(ConditionType):
    """The condition types of an AgentSession."""

    Ready = "Ready", "The session can be used by a run, or is in use by one."
    Stalled = "Stalled", "The session can never be used again: delete it. For tools that follow kstatus."


class ImageCondition(ConditionType):
    """The condition types of an AgentImage."""

    Ready = "Ready", "The image is on the node, and was inspected. It may be incompatible all the same."
    Allowed = "Allowed", "The policies of the namespace allow the image."
    Compatible = "Compatible", "The Claude CLI can run in the image."
    Reconciling = "Reconciling", "The image is on its way to the node; for tools that follow kstatus."
    Stalled = "Stalled", "The image cannot get to the node unless something changes; for tools that follow kstatus."


class PolicyCondition(ConditionType):
    """The condition types of an AgentPolicy."""

    Accepted = "Accepted", "The policy's spec is valid."
    Effective = "Effective", "Nothing in the policy is contradicted by another policy, or by itself."


class ConditionReason(StrEnum):
    """Base of the reasons of each condition: `status` is the condition's status, `text` what the reason means."""

    text: str
    status: str

    def __new__(cls, value: str, status: str, text: str) -> ConditionReason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.text = text
        return member


class Reason(ConditionReason):
    """The reasons of an AgentRun's `Succeeded`; its `Finished`, `Reconciling` and `Stalled` have the same reason."""

    Queued = (
        "Queued",
        "Unknown",
        "Another run holds the session, or the node is at its limit of starts or of runs; the message names that run,"
        " or the place in line. Time spent here does not count against `timeout`.",
    )
    Suspended = (
        "Suspended",
        "Unknown",
        "`suspend` is true, so no attempt is started; set it to false, and the run continues. Time spent here does not"
        " count against `timeout`.",
    )
    Pulling = "Pulling", "Unknown", "The image is being pulled; the message shows the progress."
    Starting = "Starting", "Unknown", "The attempt has been recorded; the container is being created and started."
    StartingServices = (
        "StartingServices",
        "Unknown",
        "The services of the environment are being started; the message says which of them are ready.",
    )
    RunningHooks = "RunningHooks", "Unknown", "The `lifecycle` commands are running; the agent starts next."
    Running = "Running", "Unknown", "The agent is running."
    Canceling = (
        "Canceling",
        "Unknown",
        "The run was canceled; its container is being ended: SIGTERM first, SIGKILL after `terminationGracePeriod`.",
    )
    Retrying = (
        "Retrying",
        "Unknown",
        "An attempt failed for a reason in `retryOn`; the next one begins at `status.nextAttemptTime`.",
    )
    WaitingForReference = (
        "WaitingForReference",
        "Unknown",
        "Something that the run references does not exist yet: create the ConfigMap, Secret, key or session that the"
        " message names, and the run continues.",
    )
    CLIImageUnavailable = (
        "CLIImageUnavailable",
        "Unknown",
        "The Claude CLI image is not on the node and could not be pulled, or pulling it is not allowed: pull it there,"
        " or correct `cli.image` in the policy.",
    )
    PodmanUnavailable = (
        "PodmanUnavailable",
        "Unknown",
        "Podman does not respond, or refuses to start the container: see its service on the node.",
    )
    RegistryUnavailable = (
        "RegistryUnavailable",
        "Unknown",
        "The registry cannot be reached; the pull is retried with backoff.",
    )
    NodeOutOfDisk = (
        "NodeOutOfDisk",
        "Unknown",
        "The node's disk is full: free some space, and the run continues.",
    )

    InvalidSpec = (
        "InvalidSpec",
        "False",
        "The spec is invalid; the message names the field and what it should be.",
    )
    ImageNotAllowed = (
        "ImageNotAllowed",
        "False",
        "No pattern of the allowlist matches the image; the message names the policy and what it allows.",
    )
    ImageIncompatible = (
        "ImageIncompatible",
        "False",
        "The Claude CLI cannot run in the image; the message says what was found.",
    )
    ImagePullFailed = (
        "ImagePullFailed",
        "False",
        "The registry does not have the image or denies access to it, or pulling is disabled: check the image's name,"
        " or the credentials that `imagePullSecrets` names.",
    )
    PolicyViolation = (
        "PolicyViolation",
        "False",
        "A policy forbids something in the spec, or two policies contradict each other; the message names them.",
    )
    CredentialsMissing = (
        "CredentialsMissing",
        "False",
        "No source of Claude credentials is configured: name a Secret in `credentials` of a policy.",
    )
    HookFailed = (
        "HookFailed",
        "False",
        "A `lifecycle` command failed, or they took too long; the message says which, and ends with its last output.",
    )
    ServiceFailed = (
        "ServiceFailed",
        "False",
        "A service of the environment did not become ready, or its image could not be built, so the prompt was not"
        " sent: the message names it, and ends with its last output.",
    )
    AgentFailed = (
        "AgentFailed",
        "False",
        "The CLI exited with an error, or without a valid answer; the message has the last lines of its output.",
    )
    PermissionDenied = (
        "PermissionDenied",
        "False",
        "The agent was denied the use of a tool, and `failOnDenied` is true; the message names the tools.",
    )
    RateLimited = (
        "RateLimited",
        "False",
        "The Claude API answered 429, or the plan's usage limit was reached; the message says until when, if the API"
        " said so. With RateLimited in `retryOn`, the run waits for that.",
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
    NoProgress = (
        "NoProgress",
        "False",
        "The CLI wrote nothing for `progressTimeout`; the message says what it wrote last, and when.",
    )
    Canceled = "Canceled", "False", "The run was stopped: `cancel` was set to true, or its session was deleted."
    ContainerLost = (
        "ContainerLost",
        "False",
        "The container was killed or removed, or the machine restarted, before the agent had finished; the message "
        "says whether the prompt may have been sent.",
    )

    Completed = "Completed", "True", "The agent finished; `status.result` has its last message."


class AllowedReason(ConditionReason):
    """The reasons of the `Allowed` of an AgentRun or an AgentImage."""

    Allowed = "Allowed", "True", "Every policy of the namespace allows the run, or the image."
    NoAllowlist = (
        "NoAllowlist",
        "True",
        "No policy restricts the images of the namespace: an administrator should set `images.allowed` in one.",
    )
    ImageNotAllowed = (
        "ImageNotAllowed",
        "False",
        "No pattern of the allowlist matches the image; the message names the policy and what it allows.",
    )
    PolicyViolation = (
        "PolicyViolation",
        "False",
        "A policy forbids something in the spec, or two policies contradict each other; the message names them.",
    )


class ReadyReason(ConditionReason):
    """The reasons of an AgentSession's `Ready`; its `Stalled` has the same reason."""

    Available = "Available", "True", "No run holds the session: the next one can start in it."
    InUse = "InUse", "True", "A run holds the session; the message names it, and others wait for it."
    Leaving = (
        "Leaving",
        "False",
        "The run that held the session has ended, but Podman has not stopped the container yet: if this lasts, see"
        " `podman ps` on the node.",
    )
    Expired = (
        "Expired",
        "False",
        "The session was not used for `ttlAfterLastUse`, and is being deleted.",
    )
    VolumeLost = (
        "VolumeLost",
        "False",
        "The volume with the session's conversation was removed from Podman: delete the session.",
    )


class PresentReason(ConditionReason):
    """The reasons of an AgentImage's `Ready`; its `Reconciling` and `Stalled` have the same reason."""

    Present = "Present", "True", "The image is on the node."
    Pulling = "Pulling", "False", "The image is being pulled; the message shows the progress."
    RegistryUnavailable = (
        "RegistryUnavailable",
        "False",
        "The registry cannot be reached; the pull is retried with backoff.",
    )
    NodeOutOfDisk = "NodeOutOfDisk", "False", "The node's disk is full: free some space, and the pull is retried."
    PodmanUnavailable = (
        "PodmanUnavailable",
        "False",
        "Podman does not respond, or refuses to create a container of the image: see its service on the node.",
    )
    PoliciesUnavailable = (
        "PoliciesUnavailable",
        "False",
        "The API server did not return the policies, or something else that the decision depends on; it is retried.",
    )
    InvalidSpec = "InvalidSpec", "False", "The spec is invalid; the message names the field and what it should be."
    ImageNotAllowed = (
        "ImageNotAllowed",
        "False",
        "No pattern of the allowlist matches the image; the message names the policy and what it allows.",
    )
    PolicyViolation = (
        "PolicyViolation",
        "False",
        "A policy cannot be read, or two policies contradict each other; the message names them.",
    )
    ImagePullFailed = (
        "ImagePullFailed",
        "False",
        "The registry does not have the image or denies access to it, or pulling is disabled: check the image's name,"
        " or the credentials that `imagePullSecrets` names. It is retried every few minutes.",
    )

    @property
    def is_final(self) -> bool:
        """Whether it stays so until somebody changes something: kstatus's "Stalled"."""
        return self in _STALLED


class CompatibleReason(ConditionReason):
    """The reasons of an AgentImage's `Compatible`."""

    Compatible = "Compatible", "True", "The mounted Claude CLI can run in the image."
    OwnCLI = "OwnCLI", "True", "The image brings its own Claude CLI, and the policies mount none."
    ImageIncompatible = (
        "ImageIncompatible",
        "False",
        "The Claude CLI cannot run in the image; the message says what was found.",
    )
    CLIImageUnavailable = (
        "CLIImageUnavailable",
        "Unknown",
        "The Claude CLI image is not on the node yet, so nothing can be compared with it.",
    )


class AcceptedReason(ConditionReason):
    """The reasons of an AgentPolicy's `Accepted`."""

    Accepted = "Accepted", "True", "The policy's spec is valid."
    Invalid = (
        "Invalid",
        "False",
        "The policy's spec is invalid, which stops every run: correct the field that the message names.",
    )


class EffectiveReason(ConditionReason):
    """The reasons of an AgentPolicy's `Effective`."""

    Effective = "Effective", "True", "Nothing contradicts the policy."
    Contradiction = (
        "Contradiction",
        "False",
        "The policy contradicts another one, or itself: change one of the two that the message names.",
    )
    Invalid = (
        "Invalid",
        "False",
        "This policy or another one is invalid, which stops every run: correct the one that the message names.",
    )


_STALLED = frozenset(
    {
        PresentReason.InvalidSpec,
        PresentReason.ImageNotAllowed,
        PresentReason.PolicyViolation,
        PresentReason.ImagePullFailed,
    }
)
