"""How a list names the node's images, and how it is sorted."""

from __future__ import annotations

import pytest

from stromboli.grammar import reference
from stromboli.models.agentpolicy import PullPolicy
from stromboli.plan import discovery
from stromboli.plan.policy import CLI

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
APP, WEB = "ghcr.io/team/app", "ghcr.io/team/web"
AGENT = CLI(reference.parse("ghcr.io/team/agent:1"), PullPolicy.IfNotPresent, "bin/claude")


@pytest.mark.parametrize(
    ("tags", "digests", "named"),
    [
        ([f"{APP}:1", f"{APP}:2"], [f"{APP}@{ONE}"], [f"{APP}:1", f"{APP}:2"]),
        ([f"{APP}:1"], [f"{APP}@{ONE}", f"{WEB}@{ONE}"], [f"{APP}:1", f"{WEB}@{ONE}"]),
        ([], [f"{APP}@{TWO}", f"{APP}@{ONE}"], [f"{APP}@{ONE}"]),
        ([], [f"{APP}@{ONE}", f"{APP}@{TWO}"], [f"{APP}@{ONE}"]),
        ([], [f"{APP}@{TWO}"], [f"{APP}@{TWO}"]),
        (["<none>:<none>"], [f"<none>@{ONE}"], []),
        (["localhost/stromboli/session:uid", f"{APP}:1"], [], []),
        (["ghcr.io/team/agent:2", f"{APP}:1"], [f"ghcr.io/team/agent@{ONE}", f"{APP}@{ONE}"], [f"{APP}:1"]),
        ([], [], []),
    ],
)
def test_the_references_of_an_image(tags: list[str], digests: list[str], named: list[str]) -> None:
    assert [str(found) for found in discovery.references(tags, digests, ONE, AGENT)] == named


def test_by_rank_then_repository_then_tag_and_what_is_unknown_last() -> None:
    images = [(f"{APP}:2", 3), (f"{APP}:1", None), (f"{WEB}:1", 1), (f"{APP}:1", 3), (f"{APP}:0", 4)]
    ordered = sorted(images, key=lambda image: discovery.order(reference.parse(image[0]), image[1]))
    assert ordered == [(f"{WEB}:1", 1), (f"{APP}:1", 3), (f"{APP}:2", 3), (f"{APP}:0", 4), (f"{APP}:1", None)]
