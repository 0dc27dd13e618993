"""What a check, Podman or the node says → what the run does about it: an end, or a wait."""

from __future__ import annotations

import pytest

from stromboli import errors
from stromboli.plan.verdict import STOPPING, LeaveAlone, Refuse, Wait, verdict
from stromboli.reasons import Reason
from stromboli.registry_problem import RegistryProblem


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (errors.PullFailed("manifest unknown", RegistryProblem.NOT_FOUND), Refuse, Reason.ImagePullFailed),
        (errors.PullFailed("no route to host", RegistryProblem.UNAVAILABLE), Wait, Reason.RegistryUnavailable),
        (errors.NoSpace("no space left on device", 500), Wait, Reason.NodeOutOfDisk),
        (errors.PodmanUnavailable("connection refused"), Wait, Reason.PodmanUnavailable),
        (errors.NotFound("no such image", 404), Wait, Reason.PodmanUnavailable),
        (errors.PodmanError("crun: boom", 500), Wait, Reason.PodmanUnavailable),
        (errors.Pulling("pulling x: 1 of 2 MiB"), Wait, Reason.Pulling),
        (errors.Building("building db: step 3/7"), Wait, Reason.StartingServices),
        (errors.BuildFailed("service db: the image was not built", "words"), Refuse, Reason.ServiceFailed),
        (errors.ImageMissing("the image x is not on the node"), Refuse, Reason.ImagePullFailed),
        (errors.CLIUnavailable("the Claude CLI's image is not on the node"), Wait, Reason.CLIImageUnavailable),
        (errors.LabelsLost("the container x has lost its labels"), Refuse, Reason.PolicyViolation),
        (errors.ClusterUnavailable("the API server: connection refused"), Wait, Reason.WaitingForReference),
    ],
)
def test_the_map(error: errors.StromboliError, kind: type, reason: Reason) -> None:
    found = verdict(error)
    assert isinstance(found, Refuse | Wait)
    assert type(found) is kind
    assert found.reason is reason
    assert found.message.startswith(str(error)) or found.message == f"Podman refuses: {error}; tried again soon"


def test_what_a_check_said_stays_as_it_is() -> None:
    assert verdict(errors.Refused(Reason.InvalidSpec, "no")) == Refuse(Reason.InvalidSpec, "no")
    assert verdict(errors.Waiting(Reason.Queued, "behind", 3.0)) == Wait(Reason.Queued, "behind", 3.0)
    assert verdict(errors.Elsewhere("the session is on node b")) == LeaveAlone()


def test_an_end_says_what_to_do() -> None:
    found = verdict(errors.PullFailed("x", RegistryProblem.NOT_FOUND))
    assert found == Refuse(Reason.ImagePullFailed, "x; check the image's name and tag")


def test_waits_have_a_delay() -> None:
    found = verdict(errors.PodmanUnavailable("x"))
    assert isinstance(found, Wait)
    assert found.delay > 0


@pytest.mark.parametrize("error", [errors.LocalFailure("x"), OSError(13, "Permission denied", "/srv/x")])
def test_the_operators_own_folders(error: Exception) -> None:
    found = verdict(error)
    assert isinstance(found, Wait)
    assert found.reason is Reason.PodmanUnavailable
    assert found.message.startswith("the operator's folders on the node: ")


def test_all_that_may_stop_a_start_is_in_the_map() -> None:
    assert {type(verdict(_made(kind))) for kind in STOPPING} == {Refuse, Wait, LeaveAlone}


def _made(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors.Refused | errors.Waiting):
        return kind(Reason.InvalidSpec, "x")
    if issubclass(kind, errors.Swapped):
        return kind("/x", "y")
    return kind("x")
