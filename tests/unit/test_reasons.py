"""The documented enums of reasons."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import pytest

from stromboli import event_reasons, reasons
from stromboli.event_reasons import EventReason
from stromboli.reasons import (
    AcceptedReason,
    AllowedReason,
    CompatibleReason,
    ConditionReason,
    ConditionType,
    EffectiveReason,
    ImageCondition,
    PolicyCondition,
    PresentReason,
    ReadyReason,
    Reason,
    RunCondition,
    SessionCondition,
)

PACKAGE = Path(reasons.__file__).parent
TYPES: tuple[type[ConditionType], ...] = (RunCondition, SessionCondition, ImageCondition, PolicyCondition)
REASONS: tuple[type[ConditionReason], ...] = (
    Reason,
    AllowedReason,
    ReadyReason,
    PresentReason,
    CompatibleReason,
    AcceptedReason,
    EffectiveReason,
)
ENUMS: tuple[type[StrEnum], ...] = (*TYPES, *REASONS, EventReason)
ALL = [member for enum in ENUMS for member in enum]
# The same words with another meaning: phases of runs, states of steps and services, fields of Podman's answers, and the
# reasons of a metav1.Status and conditions of an APIService.
OTHER_MEANINGS = {
    ("api", "Expired"),
    ("httpapi", "Invalid"),  # the API server's, for what it does not accept
    ("local", "Available"),
    ("models", "Running"),
    ("models", "Succeeded"),
    ("models", "Created"),
    ("models", "Starting"),
    ("podman", "Running"),
    ("podman", "Created"),
}

# DESIGN's list, of what this version can come to.
UNKNOWN = {
    "Queued",
    "Suspended",
    "Canceling",
    "Retrying",
    "Pulling",
    "Starting",
    "RunningHooks",
    "StartingServices",
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
    "ServiceFailed",
    "AgentFailed",
    "PermissionDenied",
    "RateLimited",
    "NoProgress",
    "MaxTurnsReached",
    "BudgetExceeded",
    "OutOfMemory",
    "TimedOut",
    "Canceled",
    "ContainerLost",
}


def test_every_enum_is_covered() -> None:
    every = [*vars(reasons).values(), *vars(event_reasons).values()]
    found = {one for one in every if isinstance(one, type) and issubclass(one, StrEnum) and list(one)}
    assert found == set(ENUMS)


@pytest.mark.parametrize("member", ALL, ids=repr)
def test_each_has_a_text_that_is_a_sentence(member: ConditionType | ConditionReason | EventReason) -> None:
    assert len(member.text) > 20
    assert member.text[0].isupper() or member.text[0] == "`"
    assert member.text.endswith(".")
    assert "\n" not in member.text


@pytest.mark.parametrize("member", ALL, ids=repr)
def test_each_is_a_camel_case_word_named_as_its_value(member: StrEnum) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", member.value)
    assert member.name == member.value == str(member)


def test_none_is_written_as_a_plain_string() -> None:
    words = {member.value for member in ALL}
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path, node in _nodes()
        if isinstance(node, ast.Constant) and node.value in words and (path.parts[0], node.value) not in OTHER_MEANINGS
    ]
    assert found == []


def test_each_is_used() -> None:
    named = {
        (node.value.id, node.attr)
        for _, node in _nodes()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert [repr(member) for member in ALL if (type(member).__name__, member.name) not in named] == []


@functools.cache
def _nodes() -> Sequence[tuple[Path, ast.Constant | ast.Attribute]]:
    """The package's constants and attributes, with the path of their module; without the enums themselves."""
    return [
        (path.relative_to(PACKAGE), node)
        for path in PACKAGE.rglob("*.py")
        if path not in (Path(reasons.__file__), Path(event_reasons.__file__))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant | ast.Attribute)
    ]


def test_each_belongs_to_one_status() -> None:
    by_status = {s: {r.value for r in Reason if r.status == s} for s in ("Unknown", "False", "True")}
    assert by_status == {"Unknown": UNKNOWN, "False": FALSE, "True": {"Completed"}}


def test_a_reason_is_found_by_its_value() -> None:
    by_value = {reason.value: reason for reason in Reason}
    assert by_value["TimedOut"] is Reason.TimedOut
    assert len(by_value) == len(Reason)


def test_only_reasons_of_succeeded_leave_a_condition_unknown() -> None:
    """Or of `Compatible`: an image may be here before the CLI with which it is compared."""
    for enum in set(REASONS) - {Reason, CompatibleReason}:
        assert {reason.status for reason in enum} == {"True", "False"}


def test_a_warning_is_an_event_that_somebody_should_read() -> None:
    assert {one.value for one in EventReason if not one.warning} == {
        "Started",
        "Created",
        "Forked",
        "DigestChanged",
        "ServiceReplaced",
        "StackNotice",
        "StackStopped",
    }
