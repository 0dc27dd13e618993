"""Objects so large, or changed so often, that their statuses can hardly be written: each run ends all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from stromboli.errors import Conflict, Rejected
from stromboli.kube import objects
from stromboli.kube.client import TRIES
from stromboli.kube.outline import MAX_SPEC
from stromboli.models.run import RunStatus
from stromboli.reasons import Reason
from tests.support.fake_cluster import MAX_OBJECT, Object
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, policy
from tests.unit.reconcile.stage import STORY, Stage


def filler(size: int) -> dict[str, Any]:
    return {"settings": {"a": "x" * size}}


def events(node: Node) -> dict[str, str]:
    return {e["reason"]: e["message"] for e in node.cluster.events.values()}


# --- large ones ---


async def test_a_spec_that_leaves_its_status_no_room_is_refused(node: Node) -> None:
    node.run(claude=filler(MAX_SPEC))
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.InvalidSpec
    assert node.message().startswith("spec: is 1179")
    assert (
        "leave room for a status; put a long prompt or compose file into a ConfigMap (spec.promptFrom, "
        in node.message()
    )
    assert node.prompts == []
    assert node.cluster.asked.count(("whole run", SPACE, "run")) == 1


async def test_one_that_just_fits_runs(node: Node) -> None:
    node.run(claude=filler(MAX_SPEC - 300))
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed


async def test_one_whose_status_does_not_fit_at_all_is_told_of_by_an_event(node: Node) -> None:
    made = node.run(claude=filler(0))
    full = filler(MAX_OBJECT - len(msgspec.json.encode(made)) - 100)
    node.cluster.change(SPACE, "run", lambda obj: obj["spec"].update(claude=full))
    async with node.process() as process:
        await node.until(lambda: "InvalidSpec" in events(node), "there is an event")
        await node.until(lambda: len(process.queue) == 0, "nothing more is tried")
    assert "leave room for a status" in events(node)["InvalidSpec"]
    assert "status" not in node.get()
    assert node.prompts == []


async def test_one_that_fills_up_while_it_runs_leaves_nothing_running(node: Node) -> None:
    async def agent(inside: Inside) -> None:
        node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].update(annotations={"a": "x" * MAX_OBJECT}))
        node.answer(inside)

    node.agent = agent
    node.run()
    async with node.process():
        await node.until(lambda: "Completed" in events(node), "an event announces its end")
        await node.until(lambda: not node.agents(), "its container is gone")
    assert reason_of(node.status()) != Reason.Completed


async def test_where_a_write_of_its_sessions_is_refused_the_run_says_so(node: Node) -> None:
    stage = Stage(node)
    stage.run("first")
    said = f"the API server refuses the status of AgentSession {STORY}: it is too large"
    async with node.process() as process:
        original = node.cluster.guard

        @asynccontextmanager
        async def refused(call: str) -> AsyncIterator[None]:
            if call == "put session":
                raise Rejected(said)
            async with original(call):
                yield

        node.cluster.guard = refused
        await node.finished("first")
        await node.until(lambda: len(process.queue) == 0, "nothing more is tried")
    assert reason_of(node.status("first")) == Reason.InvalidSpec
    assert node.message("first").startswith(f"{said}; ")
    assert stage.sent == []


# --- changed all the time ---


async def test_a_run_whose_labels_are_patched_all_the_time_gets_its_status(node: Node) -> None:
    """Somebody is quicker with a label, many times before each write that is taken."""
    node.run()
    left = TRIES - 1
    async with node.process():
        original = node.cluster.guard

        @asynccontextmanager
        async def quicker(call: str) -> AsyncIterator[None]:
            nonlocal left
            if call == "put status" and left:
                left -= 1
                node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].update(labels={"n": str(left)}))
            elif call == "put status":
                left = TRIES - 1
            async with original(call):
                yield

        node.cluster.guard = quicker
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed
    assert len(node.prompts) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"node": "another"}},
        {"metadata": {"generation": 2}},
        {"metadata": {"deletionTimestamp": "2026-01-31T12:00:00Z"}},
    ],
    ids=["status", "spec", "deleted"],
)
async def test_a_write_past_anything_else_is_a_conflict(node: Node, change: dict[str, Any]) -> None:
    obj = objects.run(node.run())

    def other(stored: Object) -> None:
        stored["metadata"].update(change.get("metadata", {}))
        stored.update({"status": change["status"]} if "status" in change else {})

    node.cluster.change(SPACE, "run", other)
    with pytest.raises(Conflict):
        await node.cluster.write_status(obj, RunStatus.of({"phase": "Pending"}))


# --- what a session may say of itself ---


@pytest.mark.parametrize("default", [None, "python:3.12"])
async def test_a_session_with_an_empty_template(node: Node, default: str | None) -> None:
    """It is filled, with nothing: where the run names no image, there is the policies' or none."""
    if default:
        node.cluster.all_policies[:] = [policy(defaults={"image": default})]
    node.cluster.add_session(SPACE, STORY, {"template": {}})
    stage = Stage(node)
    uid = node.cluster.add_run(SPACE, "first", {"prompt": "answer", "session": {"name": STORY}})["metadata"]["uid"]
    stage.names[uid] = "first"
    async with node.process():
        await node.finished()
    assert reason_of(node.status("first")) == (Reason.Completed if default else Reason.InvalidSpec)
    assert stage.session()["spec"] == {"template": {}}


@pytest.mark.parametrize("note", ["./x/u", "?limit=1/x", "a\nb/c", "x" * 200_000, "story/0b2c6f7e"])
async def test_what_somebody_writes_into_an_annotation_makes_no_fork(node: Node, note: str) -> None:
    node.cluster.add_session(SPACE, STORY, {})
    node.cluster.all_sessions[SPACE, STORY]["metadata"]["annotations"] = {"stromboli.dev/forked-from": note}
    stage = Stage(node)
    stage.run("first")
    async with node.process():
        await stage.idle()
    assert reason_of(node.status("first")) == Reason.Completed
    assert "forkedFrom" not in stage.status()


@pytest.mark.parametrize("uid", ["", "x", "../../etc", "0b2c6f7e-0000-4000-8000-00000000000G"])
async def test_a_parent_that_can_be_no_session_is_refused(node: Node, uid: str) -> None:
    """As the schema of another version may have let it in."""
    node.cluster.add_session(SPACE, STORY, {"forkedFrom": {"name": "parent", "uid": uid}})
    stage = Stage(node)
    stage.run("first")
    async with node.process():
        await node.finished()
    assert reason_of(node.status("first")) == Reason.InvalidSpec
    assert "spec.forkedFrom.uid" in node.message("first")


async def test_a_session_whose_spec_leaves_its_status_no_room(node: Node) -> None:
    node.cluster.add_session(SPACE, STORY, {"template": {"workdir": "/" + "x" * MAX_SPEC}})
    stage = Stage(node)
    stage.run("first")
    async with node.process():
        await node.finished()
    assert reason_of(node.status("first")) == Reason.InvalidSpec
    assert "leave room for a status; name another session" in node.message("first")
