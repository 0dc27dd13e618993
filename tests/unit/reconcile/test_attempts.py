"""An attempt that is written down, and what became of it while nobody looked: seals, boots, folders, disks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt import folder, seals
from stromboli.errors import NoSpace
from stromboli.plan import follow
from tests.support.fake_cluster import Object
from tests.unit.reconcile.conftest import SPACE, Inside, Node
from tests.unit.reconcile.faults import Killer

BOOT = "00000000-0000-4000-8000-00000000000b"


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells this boot; writing another id into it is a reboot."""
    file = tmp_path / "boot_id"
    file.write_text(BOOT)
    monkeypatch.setattr("stromboli.observe.attempts.BOOT_ID", file)
    return file


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


async def left_at_work(node: Node) -> str:
    """A run at work whose operator was killed; its UID."""
    node.agent = hangs
    uid: str = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
    node.agent = None
    return uid


def unsent(node: Node, uid: str, *, started: bool = True) -> None:
    """As if the supervisor had been cut short before it sent the prompt, or before it started at all."""
    folder = node.out(uid).parent
    unbroken = (folder / seals.NOTE).readlink()
    (folder / seals.NOTE).unlink()
    shutil.rmtree(folder / "out")
    seals.make(folder, None)
    if started:
        (folder / "out/started").mkdir()
    assert (folder / seals.NOTE).readlink() != unbroken
    node.prompts.clear()


async def test_after_a_reboot_a_prompt_that_was_sent_is_not_sent_again(node: Node, boot: Path) -> None:
    uid = await left_at_work(node)
    node.fake.finish(node.agents()[0], 255)
    boot.write_text("another boot")
    async with node.process():
        await node.reason("ContainerLost")
    assert node.prompts == [(uid, f"{uid}-1")]
    assert "the machine restarted" in node.message()


@pytest.mark.parametrize("started", [True, False], ids=["started", "not-started"])
async def test_after_a_reboot_a_prompt_that_was_not_sent_is_tried_again(node: Node, boot: Path, started: bool) -> None:
    uid = await left_at_work(node)
    unsent(node, uid, started=started)
    container = node.agents()[0]
    container.status = "created"  # what Podman makes of a container that was running when the machine went down
    boot.write_text("another boot")
    async with node.process():
        await node.cleared()
    assert node.prompts == [(uid, f"{uid}-2")]
    first, second = node.status()["attempts"]
    assert (first["number"], first["reason"]) == (1, "ContainerLost")
    assert (second["number"], second["reason"]) == (2, "Completed")
    assert second["bootID"] == "another boot"


async def test_an_attempt_that_bears_the_mark_is_never_started_again(node: Node) -> None:
    """Its container is gone, its prompt was not sent: another attempt, and not this one once more."""
    uid = await left_at_work(node)
    unsent(node, uid)
    node.fake.containers.pop(node.agents()[0].id)
    before = len(node.fake.calls)
    async with node.process():
        await node.cleared()
    assert node.prompts == [(uid, f"{uid}-2")]
    assert sum(call.endswith("/start") for call in node.fake.calls[before:]) == 1


async def test_an_attempt_is_in_the_status_before_its_container_is_made(node: Node) -> None:
    """And its folder is on disk before that."""
    uid = node.run()["metadata"]["uid"]
    seen: list[tuple[str, bool, bool]] = []
    killer = Killer()

    def look(_: int) -> None:
        written = [a["container"] for a in node.status().get("attempts", [])]
        if killer.calls[-1] == "put status":
            seen.append(("written", node.out(uid).exists(), bool(written)))
        if killer.calls[-1] == "POST /containers/create" and len(node.fake.containers) == 1:
            seen.append(("created", node.out(uid).exists(), written == [naming.agent(uid).name]))

    killer.before = look
    async with node.process(killer):
        await node.cleared()
    created = [what for what, *_ in seen].index("created")
    assert seen[created - 1 : created + 1] == [("written", True, False), ("created", True, True)]


async def test_cut_short_before_the_prompt_was_sent_it_is_tried_again(node: Node) -> None:
    cut = iter([True, True, False])

    async def supervisor(inside: Inside) -> None:
        if next(cut):
            (inside.out / "started").mkdir()
            inside.end(137)
        else:
            await node.supervise(inside)

    node.supervisor = supervisor
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.cleared()
    assert node.prompts == [(uid, f"{uid}-3")]
    assert [a["reason"] for a in node.status()["attempts"]] == ["ContainerLost", "ContainerLost", "Completed"]


async def test_cut_short_again_and_again_it_ends_and_does_not_claim_that_the_prompt_was_sent(node: Node) -> None:
    async def supervisor(inside: Inside) -> None:
        (inside.out / "started").mkdir()
        inside.end(137)

    node.supervisor = supervisor
    node.run()
    async with node.process():
        await node.reason("ContainerLost")
    assert len(node.status()["attempts"]) == 5
    assert "the prompt was not sent, in several attempts" in node.message()
    assert not node.prompts


async def test_without_the_cli_its_mount_is_looked_at_and_the_next_attempt_finds_it(node: Node) -> None:
    holders = [c for c in node.fake.containers.values() if c.labels.get(naming.ROLE) == naming.ROLE_HOLDER]
    missing = iter([True, False])

    async def supervisor(inside: Inside) -> None:
        if next(missing):
            holders.extend(c for c in node.fake.containers.values() if c.mounted)
            holders[0].mounted = False
            inside.end(120)
        else:
            assert holders[0].mounted, "it is mounted again before the start"
            await node.supervise(inside)

    node.supervisor = supervisor
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.cleared()
    assert node.prompts == [(uid, f"{uid}-2")]
    first, second = node.status()["attempts"]
    assert (first["reason"], first["promptSent"], first["exitCode"]) == ("CLIImageUnavailable", "No", 120)
    assert (second["reason"], second["promptSent"]) == ("Completed", "Yes")


async def test_a_claim_that_the_cli_is_missing_unmounts_nobodys(node: Node) -> None:
    missing = iter([True, False, False])

    async def supervisor(inside: Inside) -> None:
        if next(missing):
            inside.end(120)
        else:
            await node.supervise(inside)

    node.supervisor = supervisor
    node.run()
    async with node.process():
        await node.cleared()
        assert sum(call.endswith("/mount") for call in node.fake.calls) == 1, "it was looked at, and there"
        assert sum(call.endswith("/showmounted") for call in node.fake.calls) == 1
        node.run("other")
        await node.cleared()
    assert sum(call.endswith("/showmounted") for call in node.fake.calls) == 1


async def test_restarts_for_a_missing_cli_are_few_whatever_becomes_of_the_operator(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0

    async def supervisor(inside: Inside) -> None:
        nonlocal starts
        starts += 1
        inside.end(120)

    monkeypatch.setattr("stromboli.plan.follow.CLI_PAUSE", 0.01)
    node.supervisor = supervisor
    node.run()

    async def until_start(number: int) -> None:
        await node.until(lambda: starts >= number, f"start {number}")

    for number in range(1, follow.MAX_ATTEMPTS + 1):
        async with node.process(Killer(held=None)):
            await until_start(number)
    async with node.process():
        await node.reason("ContainerLost")
    assert starts == follow.MAX_ATTEMPTS == len(node.status()["attempts"])
    assert "its container did not find the Claude CLI, which is mounted on the node" in node.message()
    assert "the prompt was not sent" in node.message()
    assert "administrator" not in node.message()
    assert {a["promptSent"] for a in node.status()["attempts"]} == {"No"}


async def test_without_the_cli_it_waits_a_little_longer_each_time_and_says_so(node: Node) -> None:
    async def supervisor(inside: Inside) -> None:
        inside.end(120)

    node.supervisor = supervisor
    node.run(timeout="1s")
    async with node.process():
        await node.reason("CLIImageUnavailable")
        assert "did not find the Claude CLI" in node.message()
        await node.reason("TimedOut")
    assert len(node.status()["attempts"]) == 2
    assert not node.prompts


async def test_a_disk_that_is_full_for_the_supervisor_is_waited_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seal could not be broken; the next attempt does not begin before the disk has space."""
    full = True

    async def supervisor(inside: Inside) -> None:
        if full:
            (inside.out / "started").mkdir()
            inside.end(122)
        else:
            await node.supervise(inside)

    def no_room(home: Path) -> None:
        if full and node.agents():
            raise NoSpace(f"the file system of {home} is full")

    node.supervisor = supervisor
    monkeypatch.setattr("stromboli.perform.launch.require_room", no_room)
    node.run()
    async with node.process():
        await node.reason("NodeOutOfDisk")
        before = node.get()["metadata"]["resourceVersion"]
        looks = len(node.fake.calls) + 10
        await node.until(lambda: len(node.fake.calls) > looks, "several looks")
        assert node.get()["metadata"]["resourceVersion"] == before
        full = False
        await node.cleared()
    assert len(node.prompts) == 1
    assert len(node.status()["attempts"]) == 2


async def test_a_disk_without_room_is_said_before_anything_is_written_down(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "ROOM", 2**62)
    node.run()
    async with node.process():
        with monkeypatch.context() as full:
            full.setattr("stromboli.attempt.folder.os.statvfs", lambda _: _Full())
            await node.reason("NodeOutOfDisk")
            assert "make room there" in node.message()
            assert "attempts" not in node.status()
        monkeypatch.setattr(folder, "ROOM", 0)
        await node.cleared()
    assert len(node.prompts) == 1


class _Full:
    f_bavail, f_blocks, f_frsize = 1, 1000, 4096


@pytest.mark.parametrize("container", ["exited", "removed"])
async def test_a_folder_that_was_lost_has_lost_its_marks_and_the_prompt_counts_as_sent(
    node: Node, container: str
) -> None:
    uid = await left_at_work(node)
    shutil.rmtree(node.settings.home / "sessions" / uid)
    if container == "exited":
        node.fake.finish(node.agents()[0], 0)
    else:
        node.fake.containers.pop(node.agents()[0].id)
    async with node.process():
        await node.reason("ContainerLost")
    assert len(node.prompts) == 1
    assert "or may have been" in node.message()


async def test_a_status_of_another_boot_that_somebody_wrote_is_judged_by_the_marks(node: Node) -> None:
    uid = await left_at_work(node)
    node.fake.finish(node.agents()[0], 137)

    def another(obj: Object) -> None:
        attempts: list[dict[str, Any]] = obj["status"]["attempts"]
        attempts[0]["bootID"] = "another"

    node.cluster.change(SPACE, "run", another)
    async with node.process():
        await node.reason("ContainerLost")
    assert node.prompts == [(uid, f"{uid}-1")]


async def test_a_runtime_folder_that_others_can_read_is_said(node: Node) -> None:
    async with node.process():
        node.settings.runtime_dir.chmod(0o755)
        (node.settings.runtime_dir / node.cluster.uid).chmod(0o755)
        node.run()
        await node.until(lambda: "only this user" in str(node.status()), "the run says what is wrong")
        assert "so no secrets are written there" in node.message()
        (node.settings.runtime_dir / node.cluster.uid).chmod(0o700)
        await node.cleared()
    assert len(node.prompts) == 1
