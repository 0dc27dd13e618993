"""What is on the node belongs to somebody: a deleted run's things go, nobody else's ever do."""

from __future__ import annotations

import pytest

from stromboli import naming
from stromboli.inspection.root import MountedRoot
from tests.support.fake_podman_wire import within
from tests.unit.reconcile.conftest import IMAGE, SPACE, Inside, Node, Roots, elsewhere, made_node
from tests.unit.reconcile.faults import Killer

OTHERS = "22222222-2222-4222-8222-222222222222"


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


async def foreign(node: Node, name: str, labels: dict[str, str]) -> str:
    """Somebody's container; its id."""
    async with within(node.fake.within) as podman:
        body = {"name": name, "image": IMAGE, "command": ["sleep", "1000"], "labels": labels}
        container = await podman.containers.create(body)
        await podman.containers.start(container)
        return container


async def test_a_run_deleted_at_work_leaves_nothing(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        assert node.left(uid)
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), "nothing is left")
    assert len(node.prompts) == 1


async def test_a_finished_run_keeps_its_folder_until_it_is_deleted(node: Node) -> None:
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.cleared()
        await node.until(lambda: node.left(uid) == [f"sessions/{uid}"], "its folder alone is left")
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), "nothing is left")


async def test_deleted_while_the_operator_is_down_it_is_gone_after_the_next_start(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
    node.cluster.delete_run(SPACE, "run")
    async with node.process() as process:
        await process.sweep.once()
        await node.until(lambda: not node.left(uid), "nothing is left")


async def test_deleted_at_any_call_nothing_of_it_stays(roots: Roots) -> None:
    async with made_node(roots) as node:
        node.run()
        async with node.process(killer := Killer()):
            await node.cleared()
        calls = killer.calls
    for number, call in enumerate(calls, start=1):
        async with made_node(roots) as node:
            await _deleted_at(node, number, f"deleted at call {number}, {call}")


async def _deleted_at(node: Node, number: int, told: str) -> None:
    uid = node.run()["metadata"]["uid"]
    killer = Killer()
    killer.before = lambda n: node.cluster.delete_run(SPACE, "run") if n == number else None
    async with node.process(killer) as process:
        # the finished run's last calls come in no fixed order, so that there may be one less
        await node.until(lambda: len(process.queue) == 0, f"{told}: the queue is empty")
        if node.cluster.objects:
            node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), f"{told}: nothing is left")
        await process.sweep.once()
    assert len(node.prompts) <= 1, told
    assert not node.left(uid), told


async def test_podman_away_at_a_deletion_keeps_nothing_for_ever(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        node.fake.fail("DELETE", None, times=3)
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), "nothing is left")


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"io.podman.compose.project": "theirs"},
        {naming.INSTALLATION: OTHERS, naming.ROLE: naming.AGENT, naming.OWNER: "theirs"},
    ],
    ids=["none", "somebody's", "another-installation's"],
)
async def test_what_others_have_is_not_swept(node: Node, labels: dict[str, str]) -> None:
    container = await foreign(node, "theirs", labels)
    node.fake.volumes["theirs"] = {"Name": "theirs", "Labels": labels, "Mountpoint": "/nowhere"}
    node.fake.networks["theirs"] = {"name": "theirs", "labels": labels, "id": "1", "subnets": []}
    async with node.process() as process:
        await process.sweep.once()
        node.run()
        await node.finished()
        node.cluster.delete_run(SPACE, "run")
        await process.sweep.once()
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
    assert node.fake.containers[container].status == "running"
    assert set(node.fake.volumes) == {"theirs"}
    assert set(node.fake.networks) == {"theirs"}


@pytest.mark.parametrize("labelled", ["not", "another-installation's", "another-session's", "another-role's"])
async def test_a_container_of_ours_by_name_alone_is_waited_for_and_stays(node: Node, labelled: str) -> None:
    uid = node.run()["metadata"]["uid"]
    labels = {naming.INSTALLATION: node.cluster.uid, naming.OWNER: uid, naming.ROLE: str(naming.AGENT)}
    match labelled:
        case "not":
            labels = {}
        case "another-installation's":
            labels[naming.INSTALLATION] = OTHERS
        case "another-session's":
            labels[naming.OWNER] = OTHERS
        case "another-role's":
            labels[naming.ROLE] = "service.db"
    container = await foreign(node, naming.agent(uid).name, labels)
    async with node.process() as process:
        await node.reason("PodmanUnavailable")
        node.fake.finish(node.fake.containers[container], 0)
        await node.until(lambda: "another container is named" in node.message(), "it says whose it is")
        await process.sweep.once()
        assert container in node.fake.containers
        node.fake.containers.pop(container)
        await node.finished()
    assert node.status()["result"]["text"] == "forty-two"


async def test_a_volume_of_ours_by_name_alone_is_waited_for_and_stays(node: Node) -> None:
    uid = node.run()["metadata"]["uid"]
    name = naming.volume(uid)
    node.fake.volumes[name] = {"Name": name, "Labels": {}, "Mountpoint": "/nowhere"}
    async with node.process() as process:
        await node.reason("PodmanUnavailable")
        assert "is not ours; remove or rename it" in node.message()
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
        await process.sweep.once()
    assert name in node.fake.volumes


async def test_an_api_server_that_is_away_sweeps_nothing(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Running")
        before = node.left(uid)
        node.cluster.away = True
        assert not await process.sweep.attempt()
        assert node.left(uid) == before
        node.cluster.away = False
        assert await process.sweep.attempt()
        assert node.left(uid) == before


@pytest.mark.parametrize("after", [0, 1])
async def test_a_list_that_breaks_off_sweeps_nothing(node: Node, after: int) -> None:
    node.agent = hangs
    uids = [node.run(name)["metadata"]["uid"] for name in ("a", "b")]
    async with node.process() as process:
        await node.reason("Running", "a")
        await node.reason("Running", "b")
        before = [node.left(uid) for uid in uids]
        node.cluster.broken_after = after
        assert not await process.sweep.attempt()
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
        assert [node.left(uid) for uid in uids] == before


async def test_a_session_whose_things_cannot_go_keeps_nobody_elses_from_it(node: Node) -> None:
    node.fake.fail("DELETE /containers/", 500, times=2)
    first, second = (node.run(name)["metadata"]["uid"] for name in ("a", "b"))
    async with node.process() as process:
        await node.finished()
        node.fake.fail(f"DELETE /containers/{node.agents()[0].id}", 500, times=10**6)
        await process.sweep.once()
        assert len(node.agents()) == 1
        node.fake.failures.clear()
        await node.cleared(process)
    assert node.left(first) == [f"sessions/{first}"]
    assert node.left(second) == [f"sessions/{second}"]


async def test_two_operators_on_one_machine_send_each_prompt_once(node: Node) -> None:
    with elsewhere(node, "node-b") as other:
        for n in range(8):
            node.run(f"run-{n}")
        async with node.process(), node.process(settings=other):
            await node.finished()
            for n in range(8, 16):
                node.run(f"run-{n}")
            await node.finished()
    assert len(node.prompts) == 16
    assert len(set(node.prompts)) == 16
    assert {node.status(f"run-{n}")["phase"] for n in range(16)} == {"Succeeded"}


@pytest.mark.parametrize("refuses", [False, True], ids=["would-start-it", "would-refuse-it"])
async def test_a_run_that_another_took_up_meanwhile_is_left_to_it(node: Node, refuses: bool) -> None:
    """It learns of the other's write while it is still looking things up: what it then writes is as of before."""
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    with elsewhere(node, "node-b") as other:
        killer = Killer(held="GET /images/")
        async with node.process(killer) as slow, node.process(settings=other):
            await node.until(lambda: any("/images/" in call for call in killer.calls), "the slow one looks things up")
            await node.reason("Running")
            version = node.get()["metadata"]["resourceVersion"]
            heard = slow.store.unread(uid)
            assert heard is not None
            assert heard.version == int(version)
            if refuses:
                node.fake.images.clear()
            killer.go_on.set()
            await node.until(lambda: len(slow.queue) == 0, "the slow one is through")
    assert node.get()["metadata"]["resourceVersion"] == version
    assert node.status()["node"] == "node-b"
    assert len(node.prompts) == 1


@pytest.mark.parametrize("ended", [False, True], ids=["at-work", "ended"])
async def test_an_operator_leaves_a_run_of_another_node_alone(node: Node, ended: bool) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
    if ended:
        node.fake.finish(node.agents()[0], 137)
    version, state = node.get()["metadata"]["resourceVersion"], node.agents()[0].status
    with elsewhere(node, "node-b") as other:
        async with node.process(settings=other) as process:
            await process.sweep.once()
            process.queue.wake(uid)
            await node.until(lambda: len(process.queue) == 0, "the queue is empty")
    assert node.get()["metadata"]["resourceVersion"] == version
    assert node.agents()[0].status == state


async def test_two_clusters_with_one_runtime_folder_leave_each_others_secrets(node: Node, roots: Roots) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        secrets = list(node.settings.runtime_dir.rglob(uid))
        assert secrets
        async with made_node(roots) as others:
            others.cluster.uid = OTHERS
            settings = others.settings.model_copy(update={"runtime_dir": node.settings.runtime_dir})
            async with others.process(settings=settings) as process:
                await process.sweep.once()
                await node.until(lambda: len(process.queue) == 0, "the queue is empty")
    assert list(node.settings.runtime_dir.rglob(uid)) == secrets


async def test_a_look_that_goes_on_is_not_swept(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MountedRoot, "visible", False)  # so that Podman is asked for each file
    async with made_node(roots, known=False) as node:
        node.run()

        def looking() -> bool:
            return any(c.labels.get(naming.ROLE) == naming.ROLE_READER for c in node.fake.containers.values())

        async with node.process(killer := Killer(held="GET .*/archive")) as process:
            await node.until(looking, "a look")
            await process.sweep.once()
            assert looking()
            killer.go_on.set()
            await node.finished()
        assert node.status()["phase"] == "Succeeded"
        assert not looking()


async def test_a_look_that_was_broken_off_is_swept_by_the_next_operator(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MountedRoot, "visible", False)
    async with made_node(roots, known=False) as node:
        node.run()
        async with node.process(killer := Killer(held="GET .*/archive")):
            await node.until(lambda: any("look" in c.name for c in node.fake.containers.values()), "a look")
            killer.dead.set()
        async with node.process() as process:
            await process.sweep.once()
            await node.finished()
            assert not any("look" in c.name for c in node.fake.containers.values())
