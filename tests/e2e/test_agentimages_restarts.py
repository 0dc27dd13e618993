"""AgentImages and an operator that is killed, or away while things change."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.e2e.test_agentimages import LARGE, NewOperator, on_node, published
from tests.support import registry
from tests.support.agentimages import AgentImages, ready_is
from tests.support.podman import IsolatedPodman
from tests.support.registry import Registry
from tests.support.runs import Runs
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def served(registry_address: str) -> Iterator[Registry]:
    """A registry that the session's Podman knows."""
    with Registry(registry.program(), address=registry_address) as running:
        yield running


@pytest.fixture
def space(light_runs: Runs) -> Iterator[AgentImages]:
    """A namespace whose policy allows everything."""
    made = AgentImages(light_runs.client, light_runs.namespace)
    yield made
    made.clear()


def test_killed_during_a_pull_it_goes_on(
    new_operator: NewOperator, space: AgentImages, served: Registry, isolated_podman: IsolatedPodman
) -> None:
    reference = published(served, isolated_podman, "team/killed:1", LARGE)
    operator = new_operator()
    operator.start()
    space.apply("killed", reference)
    space.until("killed", ready_is("Pulling"))
    operator.kill()
    with new_operator():
        done = space.until("killed", ready_is("Present"))
    assert done["status"]["nodes"][0]["id"] == on_node(isolated_podman, reference)


def test_what_happened_while_it_was_down_is_made_good(
    new_operator: NewOperator, space: AgentImages, served: Registry, isolated_podman: IsolatedPodman
) -> None:
    podman = isolated_podman
    there = partial(podman.run, "images")
    kept, gone, both = (published(served, podman, f"team/{name}:1") for name in ("kept", "gone", "both"))
    with new_operator():
        before = space.ready("kept", kept)
        space.ready("gone", gone, deletionPolicy="Delete")
        space.ready("both", both, deletionPolicy="Delete")
        space.ready("both-too", both)
    podman.run("rmi", kept)
    space.delete("gone")
    space.delete("both")
    with new_operator():
        eventually(lambda: on_node(podman, gone) == "", "the deleted one's image is removed", there)
        eventually(lambda: on_node(podman, kept) != "", "the wanted one is pulled again", there)
        after = space.until("kept", ready_is("Present"))
    assert after["status"]["nodes"][0]["digest"] == before["status"]["nodes"][0]["digest"]
    assert on_node(podman, both) != ""
