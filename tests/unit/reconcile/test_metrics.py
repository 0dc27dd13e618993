"""What an operator counts while it works, is killed and comes again."""

from __future__ import annotations

import pytest

from stromboli.errors import ClusterUnavailable
from stromboli.models.run import Run, RunStatus
from stromboli.node import pulls
from stromboli.plan import notify, retry
from tests.support.builders import result_event
from tests.support.receivers import Receiver, serving
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, Process, Roots, policy

MISSING = "docker.io/library/missing:1"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.02)
    monkeypatch.setattr(notify, "FIRST", 0.01)
    monkeypatch.setattr(notify, "LONGEST", 0.05)


def value(process: Process, name: str, **labels: str) -> float | None:
    return process.metrics.registry.get_sample_value(f"stromboli_{name}", labels)


def ends(process: Process) -> float:
    """The ends of runs, whatever their reason."""
    return sum(
        sample.value
        for metric in process.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "stromboli_runs_total"
    )


async def test_a_run_that_completes(node: Node) -> None:
    async def play(inside: Inside) -> None:
        node.answer(inside)
        (inside.out / "stdout").write_bytes(result_event())

    node.agent = play
    node.run()
    async with node.process() as process:
        await node.cleared(process)
        assert value(process, "runs_total", result="succeeded", reason="Completed") == ends(process) == 1
        assert value(process, "attempts_total", reason="Completed") == 1
        used = node.status()["usage"]
        assert value(process, "tokens_total", kind="input") == used["inputTokens"] > 0
        assert value(process, "tokens_total", kind="output") == used["outputTokens"] > 0
        assert value(process, "cost_dollars_total") == pytest.approx(used["costUSD"])
        assert value(process, "run_stage_duration_seconds_count", stage="run") == 1
        assert value(process, "run_stage_duration_seconds_count", stage="queue") == 1


async def test_an_operator_that_comes_later_counts_only_what_it_ends(node: Node) -> None:
    node.run("first")
    async with node.process() as process:
        await node.cleared(process)
    node.run("second")
    async with node.process() as process:
        await node.cleared(process)
        assert ends(process) == 1
        process.queue.wake(node.get("first")["metadata"]["uid"])
        node.cluster.change_spec(SPACE, "first", ttlSecondsAfterFinished=3600)
        await node.until(process.is_idle, "all is quiet")
        assert ends(process) == 1


async def test_attempts_that_are_followed_by_another(node: Node) -> None:
    codes = [1, 0]

    async def play(inside: Inside) -> None:
        node.answer(inside, code=codes.pop(0))

    node.agent = play
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.cleared(process)
        assert value(process, "attempts_total", reason="AgentFailed") == 1
        assert value(process, "attempts_total", reason="Completed") == 1
        assert value(process, "tokens_total", kind="input") == node.status()["usage"]["inputTokens"]
        assert ends(process) == 1


async def test_a_run_that_is_canceled_before_its_start(node: Node) -> None:
    node.run(cancel=True)
    async with node.process() as process:
        await node.cleared(process)
        assert value(process, "runs_total", result="failed", reason="Canceled") == ends(process) == 1
        assert value(process, "run_stage_duration_seconds_count", stage="queue") == 0


async def test_an_end_whose_write_was_not_answered_is_counted_once(node: Node) -> None:
    write = node.cluster.write_status
    lost: list[str] = []

    async def loses_the_answer(run: Run, status: RunStatus) -> Run:
        written = await write(run, status)
        if status.is_finished and not lost:
            lost.append(run.uid)
            raise ClusterUnavailable("the answer was lost")
        return written

    node.cluster.write_status = loses_the_answer  # type: ignore[assignment, method-assign]
    node.run()
    async with node.process() as process:
        await node.finished()
        await node.until(lambda: ends(process) > 0, "its end is counted")
        await node.until(process.is_idle, "all is quiet")
        assert lost
        assert ends(process) == 1


async def test_a_pull_that_fails_and_one_that_does_not(
    node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "FIRST_DELAY", 60.0)
    node.fake.registry["docker.io/library/there:1"] = image = node.fake.add_image("there", root=roots.image)
    node.fake.images.remove(image)
    image.tags[:] = ["docker.io/library/there:1"]
    node.run("missing", image=MISSING)
    node.run("there", image="there:1")
    async with node.process() as process:
        await node.finished()
        assert reason_of(node.status("missing")) == "ImagePullFailed"
        assert value(process, "pulls_total", result="failed") == 1
        assert value(process, "pulls_total", result="pulled") == 1
        assert value(process, "pull_duration_seconds_count") == 1
        assert value(process, "runs_total", result="failed", reason="ImagePullFailed") == 1
        assert value(process, "run_stage_duration_seconds_count", stage="pull") == 1


async def test_notifications(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(notify={"allowedNetworks": ["127.0.0.0/8"]})]
    with serving(Receiver(statuses=[500, 204])) as hook:
        node.run(notify={"url": hook.url("/hook")})
        async with node.process() as process:
            await node.until(lambda: "deliveryTime" in (node.status().get("notification") or {}), "it is delivered")
            assert value(process, "notifications_total", result="retried") == 1
            assert value(process, "notifications_total", result="delivered") == 1
            assert value(process, "notifications_total", result="given_up") == 0


async def test_sessions(node: Node) -> None:
    async with node.process() as process:
        assert value(process, "sessions") == 0
        node.run(session={"name": "kept"})
        await node.finished()
        await node.until(lambda: value(process, "sessions") == 1, "the session is known")
