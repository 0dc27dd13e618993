"""How many calls to the API server and to Podman a run takes. Nothing here depends on time."""

from __future__ import annotations

from collections import Counter

import pytest

from stromboli import supervision, work_queue
from tests.unit.reconcile.conftest import SPACE, Node, policy
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import Stage

WRITES = ("put status", "put session", "post event", "post session")
AS_IT_IS = supervision.set_within


@pytest.fixture(autouse=True)
def _patient(_impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is woken: a run that is checked again meanwhile would add to the count."""
    monkeypatch.setattr(work_queue, "set_within", AS_IT_IS)


def reads(node: Node) -> Counter[str]:
    return Counter(what for what, *_ in node.cluster.asked if what not in WRITES)


async def test_a_run_reads_itself_the_policies_and_its_credentials(node: Node) -> None:
    node.run("before")
    async with node.process() as process:
        await node.cleared(process)
        node.cluster.asked.clear()
        process.killer.calls.clear()
        node.run()
        await node.cleared()
    assert reads(node) == {"run": 1, "policies": 1, "namespace": 1, "secret": 1}
    podman = [call for call in process.killer.calls if "/" in call]
    assert len(podman) <= 16, podman  # its end may be noticed by one call more
    assert not [call for call in podman if call == "GET /containers/json"], "Podman would read each of the node"


async def test_the_policies_are_read_beside_the_run_itself(node: Node) -> None:
    node.run()
    async with node.process(killer := Killer(held="^run$")):
        await node.until(lambda: {"run", "policies", "namespace"} <= {*killer.calls}, "all three are asked for")
        killer.go_on.set()
        await node.finished()
    assert reads(node)["policies"] == 1


async def test_policies_that_change_between_two_passes_are_read_again(node: Node) -> None:
    node.run(image="slow:1")
    async with node.process(Killer(held="/images/create")):
        await node.reason("Pulling")
        node.cluster.all_policies[:] = [policy(images={"allowed": ["debian:*"]})]
        node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].update(labels={"a": "b"}))
        await node.reason("ImageNotAllowed")


async def test_a_run_in_a_session(node: Node) -> None:
    stage = Stage(node)
    stage.run("before")
    async with node.process():
        await stage.idle()
        await node.until(lambda: "sizeBytes" in stage.status(), "nobody writes the session's status any more")
        node.cluster.asked.clear()
        stage.run("run")
        await stage.idle()
        found = reads(node)
    assert found["run"] == found["policies"] == found["namespace"] == found["secret"] == found["run heads"] == 1
    assert found["session"] <= 9


@pytest.mark.parametrize("runs", [5, 25])
async def test_in_a_queue_the_reads_of_a_run_do_not_grow_with_its_length(node: Node, runs: int) -> None:
    stage = Stage(node)
    stage.run("before")
    async with node.process():
        await stage.idle()
        await node.until(lambda: "sizeBytes" in stage.status(), "nobody writes the session's status any more")
        node.cluster.asked.clear()
        for number in range(runs):
            stage.run(f"run-{number:02}")
        await stage.idle()
        found = reads(node)
    assert stage.sent == sorted(stage.sent)
    assert found["run heads"] == 1, "one list serves all that were created before it"
    assert found.total() <= 16 * runs, found
