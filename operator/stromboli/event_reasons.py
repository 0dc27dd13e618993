"""The reasons of events that announce no condition: all of them, each with a text for docs/reference.md.

None is written as a plain string anywhere else (tests/unit/test_reasons.py). An event that announces a condition has
the condition's reason (reasons.py).
"""

from __future__ import annotations

from enum import StrEnum


class EventReason(StrEnum):
    """The reasons of events that announce no condition. `warning` tells Warning events from Normal ones."""

    text: str
    warning: bool

    def __new__(cls, value: str, type_: str, text: str) -> EventReason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.warning = type_ == "Warning"
        member.text = text
        return member

    Started = "Started", "Normal", "The container of an attempt was started."
    Created = "Created", "Normal", "A session was created for a run that names it."
    DigestChanged = (
        "DigestChanged",
        "Normal",
        "The tag of an AgentImage names another image than before; the message has both digests.",
    )
    LabelUntrue = (
        "LabelUntrue",
        "Warning",
        "A label of the image claims what was not found in it, and is ignored.",
    )
    Forked = "Forked", "Normal", "A session was copied from another one."
    AnswerIncomplete = (
        "AnswerIncomplete",
        "Warning",
        "The answer does not fit into the status; the message says where all of it is on the node.",
    )
    ContainerRebuilt = (
        "ContainerRebuilt",
        "Warning",
        "The session's container was removed, or could not be started again: it was created anew, and what had been"
        " installed in it is gone.",
    )
    FilesNotCopied = (
        "FilesNotCopied",
        "Warning",
        "A fork has the conversation of its parent but not its files, since the parent's container or the copy of it"
        " was removed.",
    )
    ImagePinned = (
        "ImagePinned",
        "Warning",
        "The tag of the session's image now names another image; the session goes on with the one that it began with.",
    )
    InvalidEnvironmentVariableNames = (
        "InvalidEnvironmentVariableNames",
        "Warning",
        "Keys of `envFrom` were left out, because they are not names of variables; the message names them.",
    )
    LimitsNotEnforced = (
        "LimitsNotEnforced",
        "Warning",
        "The node's Podman cannot enforce the limits that the message names.",
    )
    MCPServerFailed = (
        "MCPServerFailed",
        "Warning",
        "MCP servers of the run did not start, and the agent works without them; `status.mcpServers` has the state of"
        " each.",
    )
    NoAllowlist = (
        "NoAllowlist",
        "Warning",
        "No policy restricts the images of the namespace: an administrator should set `images.allowed` in one.",
    )
    NotificationGivenUp = (
        "NotificationGivenUp",
        "Warning",
        "The receiver that `notify` names has not accepted the notification within a day, or never can; the message"
        " says why, and it is not tried again.",
    )
    NotificationRefused = (
        "NotificationRefused",
        "Warning",
        "The receiver that `notify` names is at an address that is not public, and that the policies do not allow in"
        " `notify.allowedNetworks`. It is tried again for a day, since either may change.",
    )
    RequestsFail = (
        "RequestsFail",
        "Warning",
        "The Claude API rejects the agent's requests or cannot be reached, and the CLI retries; on a status of 401,"
        " check the credentials.",
    )
    ServiceNotReady = (
        "ServiceNotReady",
        "Warning",
        "A service was not ready within `compose.healthTimeout`, or failed although no other one waits for it; the"
        " agent begins all the same.",
    )
    ServiceReplaced = (
        "ServiceReplaced",
        "Normal",
        "A service of a session's stack was replaced, since its definition has changed; the message says in what.",
    )
    ServiceRestarted = (
        "ServiceRestarted",
        "Warning",
        "A service had ended while its stack was in use, and was started again, with its data.",
    )
    StackNotice = (
        "StackNotice",
        "Normal",
        "Something in the compose file has no effect, or a variable in it is not set; the message says what.",
    )
    StackStopped = (
        "StackStopped",
        "Normal",
        "A session's stack was stopped after `compose.idleTTL` without a run; the next run starts it again, with its"
        " data.",
    )
    VariablesWithheld = (
        "VariablesWithheld",
        "Warning",
        "Variables that the image sets are withheld from the CLI, because they would load other code into it.",
    )
