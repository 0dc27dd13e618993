"""Records that an agent spoils, forges or fills the disk with, and an answer that cannot be stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stromboli.attempt.removal import remove_tree
from tests.unit.reconcile.conftest import Inside, Node

# What an agent or a hook leaves of its records, and the code with which it has the container end.
SPOILT = {"removed": "rm", "forged": "start 1.0\nend failed 120 0 2.0\n", "as-it-was": ""}


@pytest.mark.parametrize("code", [0, 1, 119, 120, 121, 122, 123, 137, 143, 255])
@pytest.mark.parametrize("what", SPOILT)
async def test_an_agent_that_spoils_its_records_has_its_prompt_sent_once(node: Node, what: str, code: int) -> None:
    async def agent(inside: Inside) -> None:
        if what == "removed":
            for entry in inside.out.iterdir():
                remove_tree(entry)
        else:
            (inside.out / "record").write_text(SPOILT[what])
        inside.end(code)

    node.agent = agent
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.cleared()
        assert await process.sweep.attempt()
    assert node.prompts == [(uid, f"{uid}-1")]
    assert "the prompt was not sent" not in node.message()
    assert [a["promptSent"] for a in node.status()["attempts"]] == ["Unknown"]


async def test_an_agent_that_forges_the_end_is_watched_to_its_real_one(node: Node) -> None:
    async def agent(inside: Inside) -> None:
        (inside.out / "record").write_text("start 1.0\nend completed 0 0 1.0\n")

    node.agent = agent
    node.run()
    async with node.process() as process:
        await node.reason("Running")
        process.queue.wake(node.get()["metadata"]["uid"])
        await node.until(lambda: len(process.queue) == 0, "the pass is over")
        assert node.status()["phase"] == "Running"
        node.answer(
            Inside(node.agents()[0], Path(), node.out(node.get()["metadata"]["uid"]), Path(), Path(), node.fake)
        )
        await node.cleared()
    assert node.status()["result"]["text"] == "forty-two"


async def test_an_answer_that_cannot_be_stored_is_left_out_and_the_run_ends(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.fake_cluster.MAX_OBJECT", 3000)

    async def agent(inside: Inside) -> None:
        text = "x" * 3000
        (inside.out / "stdout").write_text(
            f'{{"type":"result","subtype":"success","is_error":false,"result":"{text}","num_turns":1}}\n'
        )
        (inside.out / "record").write_text("start 1.0\nbegin agent 0 1.0\nfinish 0 2.0\nend completed 0 0 2.0\n")
        inside.end(0)

    node.agent = agent
    node.run()
    async with node.process():
        await node.cleared()
    assert node.status()["phase"] == "Succeeded"
    assert "result" not in node.status()
    assert "the answer could not be written to the status" in node.message()


async def test_an_agent_that_fills_the_nodes_disk_by_its_records_is_ended_and_nothing_of_that_stays(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def agent(inside: Inside) -> None:
        (inside.out / "junk").write_bytes(bytes(2_000_000))
        (inside.out / "record").write_text("start 1.0\nbegin agent 0 1.0\n")

    monkeypatch.setattr("stromboli.attempt.usage.MAX_OUT", 1_000_000)
    node.agent = agent
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Running")
        await process.guard.once()
        await node.cleared()
        left = {"record", "seal"}
        await node.until(lambda: {p.name for p in node.out(uid).iterdir()} == left, "only the records are left")
    assert "filled /run/stromboli/out" in node.message()
    assert [a["reason"] for a in node.status()["attempts"]] == ["AgentFailed"]
    assert len(node.prompts) == 1


@pytest.mark.parametrize("named", [False, True], ids=["its-own", "named"])
async def test_what_is_no_record_goes_when_a_run_has_ended(node: Node, named: bool) -> None:
    async def agent(inside: Inside) -> None:
        (inside.out / "junk").write_bytes(bytes(2_000_000))
        node.answer(inside)

    node.agent = agent
    spec: dict[str, Any] = {"session": {"name": "kept"}} if named else {}
    uid = node.run(**spec)["metadata"]["uid"]
    session = uid
    async with node.process():
        await node.reason("Completed")
        session = (node.status().get("session") or {}).get("uid", uid)
        folder = node.out(uid, session=session)
        records = {"record", "seal", "stdout"}
        await node.until(lambda: {p.name for p in folder.iterdir()} == records, "only the records are left")
