"""What Podman says → what the run does about it: an end, or a wait."""

from __future__ import annotations

import pytest

from stromboli import errors
from stromboli.errors import Refused, Waiting
from stromboli.plan.waiting import NODE, from_podman
from stromboli.reasons import Reason


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (errors.PullFailed("manifest unknown", permanent=True), Refused, Reason.ImagePullFailed),
        (errors.PullFailed("no route to host", permanent=False), Waiting, Reason.RegistryUnavailable),
        (errors.NoSpace("no space left on device", 500), Waiting, Reason.NodeOutOfDisk),
        (errors.PodmanUnavailable("connection refused"), Waiting, Reason.PodmanUnavailable),
        (errors.NotFound("no such image", 404), Waiting, Reason.PodmanUnavailable),
        (errors.PodmanError("crun: boom", 500), Waiting, Reason.PodmanUnavailable),
        (errors.Pulling("pulling x: 1 of 2 MiB"), Waiting, Reason.Pulling),
        (errors.ImageMissing("the image x is not on the node"), Refused, Reason.ImagePullFailed),
        (errors.CLIUnavailable("the Claude CLI's image is not on the node"), Waiting, Reason.CLIImageUnavailable),
        (errors.LabelsLost("the container x has lost its labels"), Refused, Reason.PolicyViolation),
    ],
)
def test_the_map(error: errors.StromboliError, kind: type, reason: Reason) -> None:
    found = from_podman(error)
    assert type(found) is kind
    assert found.reason is reason
    assert found.message.startswith(str(error)) or found.message == f"Podman refuses: {error}; tried again soon"
    assert str(found) == found.message


def test_only_what_the_registry_refuses_for_good_is_an_end() -> None:
    for error in (errors.PullFailed("x", permanent=False), errors.NoSpace("x"), errors.PodmanError("x")):
        assert isinstance(from_podman(error), Waiting)


def test_an_end_says_what_to_do() -> None:
    assert from_podman(errors.PullFailed("x", permanent=True)).message == "x; check the image's name and tag"


def test_waits_have_a_delay() -> None:
    found = from_podman(errors.PodmanUnavailable("x"))
    assert isinstance(found, Waiting)
    assert 0 < found.delay <= 10
    assert Waiting(Reason.Pulling, "m").delay == 5.0


def test_every_wait_is_a_reason_that_is_not_an_end() -> None:
    for error in (errors.PullFailed("x", permanent=False), errors.NoSpace("x"), errors.PodmanUnavailable("x")):
        found = from_podman(error)
        assert found.reason.status == "Unknown"


def test_all_that_the_node_says_is_in_the_map() -> None:
    assert {type(from_podman(kind("x"))) for kind in NODE if kind is not errors.PodmanError} == {Waiting, Refused}
