"""What an agent prints of its secrets is in no status, whatever becomes of the Secret and of the operator."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt.folder import SessionFolder
from tests.support.builders import result_event
from tests.unit.reconcile.conftest import Inside, Node

KEY = "a-key-that-was-handed-over"


@pytest.fixture
def told(node: Node) -> Node:
    """A run whose agent prints its key wherever it can, and works until the test ends it."""
    node.cluster.secrets["stromboli-system", "claude"] = {"ANTHROPIC_API_KEY": KEY.encode()}

    async def agent(inside: Inside) -> None:
        (inside.out / "stderr").write_text(f"stderr {KEY}\n")
        (inside.out / "stdout").write_bytes(result_event(result=f"it is {KEY}", structured_output={"key": KEY}))
        begun = "start 1.0\nbegin postStart 0 1.0\nfinish 0 1.0\nbegin agent 0 1.0\n"
        (inside.out / "postStart.0").write_text(f"hook {KEY}\n")
        (inside.out / "record").write_text(begun)

    node.agent = agent
    node.run()
    return node


def over(node: Node) -> None:
    """The agent ends."""
    [container] = node.agents()
    [record] = node.home().glob("sessions/*/attempts/*/out/record")
    record.write_text(record.read_text() + "finish 0 2.0\nend completed 0 0 2.0\n")
    node.fake.finish(container, 0)


def rotated(node: Node) -> None:
    node.cluster.secrets["stromboli-system", "claude"] = {"ANTHROPIC_API_KEY": b"another-key-by-now"}


def missing(node: Node) -> None:
    del node.cluster.secrets["stromboli-system", "claude"]


def without_policy(node: Node) -> None:
    node.cluster.all_policies.clear()


@pytest.mark.parametrize("change", [rotated, missing, without_policy])
@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "same-operator"])
async def test_what_was_handed_over_is_known_until_the_output_is_read(
    told: Node, change: object, restarted: bool
) -> None:
    assert callable(change)
    async with told.process():
        await told.reason("Running")
        if not restarted:
            change(told)
            over(told)
            await told.finished()
    if restarted:
        change(told)
        over(told)
        async with told.process():
            await told.finished()
    status = told.status()
    assert KEY not in json.dumps(status)
    assert status["result"] == {"text": "it is ***", "truncated": False, "structured": {"key": "***"}}
    assert [s["tail"] for s in status["steps"]] == ["hook ***\n", "stderr ***\n"]


async def test_after_a_reboot_what_was_written_is_withheld_and_the_message_says_so(told: Node) -> None:
    async with told.process():
        await told.reason("Running")
    over(told)
    shutil.rmtree(told.settings.runtime_dir)
    async with told.process():
        await told.finished()
    status = told.status()
    assert KEY not in json.dumps(status)
    assert status["phase"] == "Succeeded"
    assert "result" not in status
    assert status["usage"]["turns"] == 1
    assert "is withheld" in told.message()


async def test_it_is_in_a_file_of_the_operators_that_no_container_has_for_as_long_as_the_output(told: Node) -> None:
    uid = told.get()["metadata"]["uid"]
    async with told.process():
        await told.reason("Running")
        [found] = told.settings.runtime_dir.glob(f"*/given/{uid}/{uid}-1")
        assert KEY in found.read_text()
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
        [container] = told.agents()
        bound = [Path(m["source"]).resolve() for m in container.body["mounts"] if m["type"] == "bind"]
        assert not [path for path in bound if found.is_relative_to(path)]
        assert container.labels[naming.OWNER] == uid
        over(told)
        await told.finished()
        await told.cleared()
        assert KEY in found.read_text()
        told.cluster.delete_run(told.get()["metadata"]["namespace"], "run")
        await told.until(lambda: not found.parent.exists(), "it is gone")


async def test_of_an_output_without_it_nothing_is_kept_but_a_note(told: Node) -> None:
    uid = told.get()["metadata"]["uid"]
    async with told.process():
        await told.reason("Running")
        for name in ("stdout", "stderr", "postStart.0"):
            path = told.out(uid) / name
            path.write_bytes(path.read_bytes().replace(KEY.encode(), b"nothing of it"))
        over(told)
        await told.finished()
        note = told.out(uid).parent / "no-secrets"
        await told.until(note.exists, "the note is there")
    assert not list(told.settings.runtime_dir.glob(f"*/given/{uid}/*"))
    assert SessionFolder(told.home(), told.settings.runtime_dir, uid).read_given(f"{uid}-1").known
