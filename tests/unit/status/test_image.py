"""An AgentImage's status where several nodes write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stromboli.models.image import ImageStatus
from stromboli.reasons import CompatibleReason, ImageCondition, PresentReason
from stromboli.status import conditions
from stromboli.status.image import Inspected, Outcome, Said, after
from stromboli.status.run import Moment


def at(node: str) -> Moment:
    return Moment(datetime.now(UTC), node, 1)


def present(node: str, size: str = "1 MB", rank: int = 3) -> Outcome:
    seen = Inspected({"id": f"of-{node}", "digest": "sha256:a"}, rank, {"size": size})
    said = Said(CompatibleReason.Compatible, f"as {node} sees it")
    return Outcome(PresentReason.Present, f"it is on node {node}", compatible=said, inspected=seen)


def failed(node: str, reason: PresentReason = PresentReason.ImagePullFailed) -> Outcome:
    return Outcome(reason, f"as {node} sees it")


def ready(status: ImageStatus) -> Any:
    found = conditions.find(status.wire["conditions"], ImageCondition.Ready)
    return None if found is None else (found["reason"], found["message"])


def rounds(status: ImageStatus, *outcomes: tuple[str, Outcome]) -> ImageStatus:
    """Each node passes twice, as one that hears of the other's write does."""
    for node, outcome in 2 * outcomes:
        status = after(status, outcome, at(node))
    return status


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (present("a"), present("b", size="2 MB", rank=4)),
        (failed("a"), failed("b")),
        (failed("a"), failed("b", PresentReason.RegistryUnavailable)),
        (present("a"), failed("b")),
        (failed("a"), present("b")),
    ],
)
def test_nodes_that_have_nothing_new_to_say_do_not_write_over_each_other(a: Outcome, b: Outcome) -> None:
    status = rounds(ImageStatus(), ("a", a), ("b", b))
    assert after(status, a, at("a")) == status
    assert after(status, b, at("b")) == status


@pytest.mark.parametrize("away", ["a", "b"])
def test_a_node_that_cannot_be_checked_for_now_is_no_reason_for_the_other_to_write(away: str) -> None:
    status = rounds(ImageStatus(), ("a", present("a")), ("b", present("b")))
    outcomes = {node: present(node) for node in "ab"} | {away: failed(away, PresentReason.PodmanUnavailable)}
    status = rounds(status, *outcomes.items())
    for node, outcome in outcomes.items():
        assert after(status, outcome, at(node)) == status


@pytest.mark.parametrize("last", ["a", "b"])
def test_ready_becomes_true_with_the_last_node_that_gets_the_image(last: str) -> None:
    first = "b" if last == "a" else "a"
    status = rounds(ImageStatus(), ("a", failed("a")), ("b", failed("b")))
    status = rounds(status, (first, present(first)), (last, failed(last)))
    assert ready(status)[0] == "ImagePullFailed"
    assert ready(after(status, present(last), at(last)))[0] == "Present"


def test_what_is_said_of_the_image_is_one_nodes_until_that_has_it_no_more() -> None:
    status = rounds(ImageStatus(), ("a", present("a", rank=3)), ("b", present("b", size="2 MB", rank=1)))
    assert (status.wire["rank"], status.wire["summary"]) == (3, {"size": "1 MB"})
    status = rounds(status, ("a", failed("a")), ("b", present("b", size="2 MB", rank=1)))
    assert (status.wire["rank"], status.wire["summary"]) == (1, {"size": "2 MB"})
    assert ready(status) == ("ImagePullFailed", "as a sees it")
