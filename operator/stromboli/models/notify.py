"""Whom a run's end is reported to, and what has become of that: `spec.notify` and `status.notification` of an AgentRun.

What an administrator allows is `notify` of an AgentPolicy.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from stromboli.errors import InvalidInput
from stromboli.grammar import network, receiver
from stromboli.models.base import KeyRef, Model, rules


def _url(text: str) -> str:
    try:
        receiver.parse(text)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    return text


def _network(text: str) -> str:
    try:
        network.parse(text)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    return text


# Each URL that is refused is refused by one rule, except for its port, which is checked before the run starts.
_URL_RULES = rules(
    (f"self.matches(r'{receiver.SCHEME_RE2}')", receiver.SCHEME_MEANT),
    (f"!self.matches(r'{receiver.USER_RE2}')", receiver.USER_MEANT),
    (
        f"!self.matches(r'{receiver.SCHEME_RE2}') || self.matches(r'{receiver.USER_RE2}') || "
        f"self.matches(r'{receiver.URL_RE2}')",
        receiver.URL_MEANT,
    ),
)
ReceiverUrl = Annotated[
    str, Field(min_length=1, max_length=receiver.MAX_URL, json_schema_extra=_URL_RULES), AfterValidator(_url)
]
AllowedNetwork = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=rules(("isCIDR(self) && cidr(self) == cidr(self).masked()", network.MEANT)),
    ),
    AfterValidator(_network),
]


class SigningKeyRef(KeyRef):
    """The key that notifications are signed with, in a Secret of the run's namespace."""

    optional: bool | None = Field(
        None, description="Whether the notification is sent unsigned if the Secret or its key does not exist."
    )


class Notify(Model):
    """Whom the run's end is reported to."""

    url: ReceiverUrl = Field(
        description="URL that the end is POSTed to as JSON, https or http. It has to be at a public address, unless a "
        "policy allows others (`notify.allowedNetworks`).",
    )
    secret_key_ref: SigningKeyRef | None = Field(
        None,
        description="Key that each request is signed with (HMAC-SHA256, in the header `X-Stromboli-Signature`); "
        "without it, none is signed.",
    )


class Notification(Model):
    """What has become of the notification. It is over once it has a `deliveryTime`, or no `nextAttemptTime`."""

    attempts: int = Field(0, description="How often it was sent, or could not be.")
    last_attempt_time: str | None = Field(None, description="When that was last.", max_length=64)
    next_attempt_time: str | None = Field(
        None, description="When it is tried again; absent once it was delivered, or given up.", max_length=64
    )
    delivery_time: str | None = Field(None, description="When the receiver accepted it.", max_length=64)
    last_status_code: int | None = Field(
        None, description="Status code of the receiver's last answer; absent if there was none."
    )
    last_error: str | None = Field(
        None, description="Why the last attempt failed; absent once it was delivered.", max_length=1024
    )


class NotifyRules(Model):
    """Where notifications may go."""

    allowed_networks: Annotated[list[AllowedNetwork], Field(max_length=128)] | None = Field(
        None,
        description="Networks that notifications may go to although their addresses are not public, such as "
        "`10.20.0.0/16`. Default: none. Of several policies, what all of them list.",
    )
