"""The documented enums of reasons."""

from __future__ import annotations

import re

import pytest

from stromboli.reasons import AllowedReason, Reason

# DESIGN's list, of what this version can come to.
UNKNOWN = {
    "Queued",
    "Pulling",
    "Starting",
    "RunningHooks",
    "Running",
    "WaitingForReference",
    "CLIImageUnavailable",
    "PodmanUnavailable",
    "RegistryUnavailable",
    "NodeOutOfDisk",
}
FALSE = {
    "InvalidSpec",
    "ImageNotAllowed",
    "ImageIncompatible",
    "ImagePullFailed",
    "PolicyViolation",
    "CredentialsMissing",
    "HookFailed",
    "AgentFailed",
    "MaxTurnsReached",
    "BudgetExceeded",
    "OutOfMemory",
    "TimedOut",
    "Canceled",
    "ContainerLost",
}


@pytest.mark.parametrize("reason", Reason)
def test_each_has_a_text_that_is_a_sentence(reason: Reason) -> None:
    assert len(reason.text) > 20
    assert reason.text.endswith(".")
    assert "\n" not in reason.text


@pytest.mark.parametrize("reason", [*Reason, *AllowedReason])
def test_each_is_a_camel_case_word_named_as_its_value(reason: Reason | AllowedReason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", reason.value)
    assert reason.name == reason.value == str(reason)


def test_each_belongs_to_one_status() -> None:
    by_status = {s: {r.value for r in Reason if r.status == s} for s in ("Unknown", "False", "True")}
    assert by_status == {"Unknown": UNKNOWN, "False": FALSE, "True": {"Completed"}}


def test_a_reason_is_found_by_its_value() -> None:
    by_value = {reason.value: reason for reason in Reason}
    assert by_value["TimedOut"] is Reason.TimedOut
    assert len(by_value) == len(Reason)


def test_refusals_of_a_policy_have_a_counterpart_in_allowed() -> None:
    assert {AllowedReason(Reason.ImageNotAllowed.value), AllowedReason(Reason.PolicyViolation.value)} == {
        AllowedReason.ImageNotAllowed,
        AllowedReason.PolicyViolation,
    }
