"""Stacks of named sessions: the next run finds them as they are, with what has changed since; they stop when idle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stromboli.kube.objects import head
from stromboli.reasons import Reason
from tests.support.fake_podman_wire import within
from tests.unit.reconcile.conftest import SPACE, Node
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stacked import APP, CACHE, DATABASE, Stacked, file
from tests.unit.reconcile.stage import STORY

HOOKS = {"onCreateCommand": ["install"], "postStart": ["begin"]}


@pytest.fixture
def stage(node: Node, monkeypatch: pytest.MonkeyPatch) -> Stacked:
    return Stacked(node, monkeypatch)


def of_runs(calls: Sequence[str]) -> list[str]:
    """The calls to Podman but for those of health checks, which go on meanwhile."""
    return [call for call in calls if call.startswith(("GET /", "POST /", "DELETE /")) and "exec" not in call.lower()]


async def test_the_next_run_finds_the_stack_up(node: Node, stage: Stacked) -> None:
    killer = Killer()
    async with node.process(killer) as process:
        stage.up("first", session=STORY)
        await stage.idle()
        await stage.quiet(process)
        before = {name: (one.id, one.started) for name, one in stage.services().items()}
        [agent] = node.agents()
        killer.calls.clear()
        stage.up("second", session=STORY)
        await stage.idle()
        with_stack = of_runs(killer.calls)
        assert {name: (one.id, one.started) for name, one in stage.services().items()} == before
        assert node.agents() == [agent]
        await stage.quiet(process)
        stage.run("plain", "another")
        await stage.idle("another")
        killer.calls.clear()
        stage.run("plain2", "another")
        await stage.idle("another")
        plain = of_runs(killer.calls)
    assert stage.sent == ["first", "second", "plain", "plain2"]
    # Images of two services more, whether two containers run, and what the start of the agent asks beside.
    assert len(with_stack) <= len(plain) + 6, (with_stack, plain)
    assert not any(call.endswith("/create") for call in with_stack)


async def test_the_status_has_the_services(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", session=STORY)
        await stage.idle()
        await node.until(lambda: all(one.get("ready") for one in stage.entries().values()), "all are ready")
        entries = stage.entries()
        assert set(entries) == {"db", "cache"}
        assert (entries["db"]["state"], entries["db"]["health"]) == ("Running", "Healthy")
        assert (entries["cache"]["state"], entries["cache"]["health"]) == ("Running", "None")
        assert entries["db"]["image"] == "docker.io/library/postgres:16"
        assert entries["db"]["startedAt"]
        assert entries["db"].get("restarts", 0) == 0
        node.fake.end(stage.services()["db"].name, 137)
        await node.until(lambda: stage.entries()["db"].get("restarts") == 1, "the restart is told")
        assert stage.told("ServiceRestarted") == ["first"]


async def test_a_stack_at_rest_costs_no_writes_and_only_its_checks(node: Node, stage: Stacked) -> None:
    often = DATABASE.replace("interval: 1h", "interval: 2ms")
    killer = Killer()
    async with node.process(killer) as process:
        stage.up("first", file(db=often), session=STORY)
        await stage.idle()
        await stage.at_rest(process)
        writes, commands, looks = len(node.cluster.writes), len(node.fake.commands), stage.looks
        killer.calls.clear()
        await node.until(lambda: len(node.fake.commands) >= commands + 8, "checks go on")
        assert len(node.cluster.writes) == writes
        assert stage.looks == looks
        to_podman = [call for call in killer.calls if "/" in call]
        assert [call for call in to_podman if "exec" not in call] == []


async def test_a_killed_service_is_back_with_its_data_before_the_next_prompt(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", session=STORY)
        await stage.idle()
        database = stage.services()["db"]
        stage.healthy.clear()
        node.fake.end(database.name, 137)
        stage.up("second", session=STORY)
        await node.reason(Reason.StartingServices, "second")
        await node.until(lambda: database.status == "running", "it runs again")
        assert stage.sent == ["first"]
        stage.healthy.add("db")
        await stage.idle()
        assert stage.services()["db"] is database
    assert stage.sent == ["first", "second"]


async def test_a_service_that_somebody_removed_is_back_before_the_next_prompt(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", session=STORY)
        await stage.idle()
        async with within(node.fake.within) as podman:
            for one in stage.services().values():
                await podman.containers.remove(one.id)
        await node.until(lambda: not stage.services(), "they are gone")
        stage.up("second", session=STORY)
        await stage.idle()
        assert stage.running() == {"db", "cache"}
    assert stage.sent == ["first", "second"]


async def test_only_what_has_changed_is_replaced(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", file("extra: {image: redis:7}"), session=STORY, lifecycle=HOOKS)
        await stage.idle()
        before, [agent] = stage.services(), node.agents()
        changed = file("newer: {image: redis:7}", cache=f"{CACHE}, environment: {{SIZE: '2'}}")
        stage.up("second", changed, session=STORY, lifecycle=HOOKS)
        await stage.idle()
        after = stage.services()
        assert set(after) == {"db", "cache", "newer"} == stage.running()
        assert after["db"] is before["db"]
        assert after["cache"] is not before["cache"]
        assert after["cache"].body["env"]["SIZE"] == "2"
        assert node.agents() == [agent]
        assert stage.told("ServiceReplaced") == ["second"]
        assert stage.messages("ServiceReplaced") == ["the service cache was replaced: its environment changed"]
        assert set(stage.entries()) == {"db", "cache", "newer"}
    assert stage.sent == ["first", "second"]
    assert stage.hooks == {(agent.id, "onCreateCommand"): 1, (agent.id, "postStart"): 2}


async def test_a_changed_service_of_the_agent_is_a_new_container_with_its_hooks(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", session=STORY, lifecycle=HOOKS)
        await stage.idle()
        before, [old] = stage.services(), node.agents()
        stage.up("second", file(app=f"{APP}, environment: {{MODE: test}}"), session=STORY, lifecycle=HOOKS)
        await stage.idle()
        [new] = node.agents()
        assert new is not old
        assert stage.services() == before
        assert stage.told("ContainerRebuilt") == ["second"]
        assert "(its environment changed)" in stage.messages("ContainerRebuilt")[0]
    assert stage.sent == ["first", "second"]
    assert stage.hooks[new.id, "onCreateCommand"] == 1 == stage.hooks[old.id, "onCreateCommand"]


async def test_a_changed_database_breaks_no_namespace_that_it_shares(node: Node, stage: Stacked) -> None:
    app = "image: python:3.12, network_mode: 'service:db', depends_on: {db: {condition: service_healthy}}"
    async with node.process():
        stage.up("first", file(app=app), session=STORY, lifecycle=HOOKS)
        await stage.idle()
        [holder], [agent], database = stage.holders(), node.agents(), stage.services()["db"]
        stage.up("second", file(app=app, db=f"{DATABASE}, environment: {{A: b}}"), session=STORY, lifecycle=HOOKS)
        await stage.idle()
        assert stage.holders() == [holder]
        assert node.agents() == [agent]
        assert stage.services()["db"] is not database
        more = f"{DATABASE}, environment: {{A: b}}, networks: [other]"
        changed = file(app=app, db=more, top="volumes: {data: {}}\nnetworks: {other: {}}")
        stage.up("third", changed, session=STORY, lifecycle=HOOKS)
        await stage.idle()
        [new] = stage.holders()
        assert new is not holder
        assert all(node.fake.holder(one) is new for one in (stage.services()["db"], *node.agents()))
    assert stage.sent == ["first", "second", "third"]


async def test_an_idle_stack_stops_and_the_next_run_starts_it_with_its_data(node: Node, stage: Stacked) -> None:
    async with node.process() as process:
        stage.hold("first")
        stage.up("first", session=STORY)
        await stage.at_work("first")
        stage.is_idle = True
        node.cluster.change(SPACE, "first", lambda _: None)
        await stage.quiet(process)
        assert stage.running() == {"db", "cache"}, "not while it is used"
        stage.let()
        await stage.idle()
        await node.until(lambda: not stage.running(), "it is stopped")
        await node.until(lambda: {e["state"] for e in stage.entries().values()} == {"Stopped"}, "the status says so")
        before = {name: one.id for name, one in stage.services().items()}
        assert set(before) == {"db", "cache"}
        await node.until(lambda: stage.told("StackStopped") == [STORY], "there is an event")
        stage.is_idle = False
        stage.up("second", session=STORY)
        await stage.idle()
        assert {name: one.id for name, one in stage.services().items()} == before
        assert stage.running() == {"db", "cache"}
        assert {e["state"] for e in stage.entries().values()} == {"Running"}
    assert stage.sent == ["first", "second"]


@pytest.mark.parametrize("moment", ["stop", "put session", "session"])
async def test_a_run_that_comes_while_its_stack_is_being_stopped(node: Node, stage: Stacked, moment: str) -> None:
    """Whichever call is the last before the run: the stack is up when its prompt is sent."""
    killer = Killer(held="/stop$")
    up: list[set[str]] = []
    supervise = stage.supervise

    async def seen(inside: object) -> None:
        up.append(stage.running())
        await supervise(inside)  # type: ignore[arg-type]

    node.supervisor = seen
    async with node.process(killer) as process:
        stage.up("first", session=STORY)
        await stage.idle()
        await stage.quiet(process)
        begun = False

        def come(_: int) -> None:
            nonlocal begun
            call = killer.calls[-1]
            if call == "session" and not begun:
                stage.is_idle = True  # as a pass begins: another may be half through already
            if not begun and (call.endswith("/stop") if moment == "stop" else call == moment):
                begun, stage.is_idle = True, False
                stage.up("second", session=STORY)

        killer.before = come
        process.wakers.session(head(stage.session()["metadata"]))
        await node.until(lambda: begun, f"{moment} was called")
        if moment == "stop":  # nothing has stopped yet, and it does not begin with that
            await node.reason(Reason.StartingServices, "second")
        killer.go_on.set()
        await stage.idle()
        assert stage.running() == {"db", "cache"}
    assert up == [{"db", "cache"}] * 2
    assert stage.sent == ["first", "second"]


async def test_nothing_is_left_of_a_deleted_session(node: Node, stage: Stacked) -> None:
    app = "image: python:3.12, network_mode: 'service:db', depends_on: {db: {condition: service_healthy}}"
    async with node.process():
        stage.up("first", file(app=app), session=STORY)
        stage.up("another", session="another")
        await node.finished()
        await stage.free(STORY)
        await stage.free("another")
        uids = [stage.session(name)["metadata"]["uid"] for name in (STORY, "another")]
        assert set(stage.services(uids[1])) == {"db", "cache"}
        await node.cluster.delete_session(SPACE, STORY)
        await node.until(lambda: stage.left(uids[0]) == [], "nothing is left")
        assert stage.running(uids[1]) == {"db", "cache"}
        await node.cluster.delete_session(SPACE, "another")
        await node.until(lambda: stage.left(uids[1]) == [], "nothing is left")
    assert not node.fake.networks


async def test_the_next_operator_looks_after_a_stack_that_runs(node: Node, stage: Stacked) -> None:
    often = DATABASE.replace("interval: 1h", "interval: 2ms")
    once = "once: {image: python:3.12, command: ['true']}"
    async with node.process():
        stage.up("first", file(once, db=often), session=STORY)
        await stage.idle()
        await node.until(lambda: stage.entries().get("once", {}).get("state") == "Exited", "one has ended")
        await node.until(lambda: all(one.get("ready") for one in stage.entries().values()), "all are ready")
    entries, ids = stage.entries(), {name: one.id for name, one in stage.services().items()}
    node.fake.end(stage.services()["cache"].name, 1)
    async with node.process() as process:
        assert await process.sweep.attempt()
        commands = len(node.fake.commands)
        await node.until(lambda: len(node.fake.commands) >= commands + 2, "health checks go on")
        await node.until(lambda: stage.running() == {"db", "cache"}, "what died meanwhile runs again")
        node.fake.end(stage.services()["db"].name, 137)
        await node.until(lambda: stage.entries()["db"].get("restarts") == 1, "what dies is started again")
        await node.until(lambda: all(one.get("ready") for one in stage.entries().values()), "all are ready")
        assert set(stage.entries()) == set(entries), "none is forgotten"
        assert [one["image"] for one in stage.entries().values()] == [one["image"] for one in entries.values()]
        stage.up("second", file(once, db=often), session=STORY)
        await stage.idle()
        assert {name: one.id for name, one in stage.services().items()} == ids
        assert [c for c in node.fake.calls if c.endswith("/start") and ids["once"] in c] == [
            f"POST /containers/{ids['once']}/start"
        ]
    assert stage.sent == ["first", "second"]


async def test_what_an_operator_has_adopted_is_at_rest_too(node: Node, stage: Stacked) -> None:
    async with node.process() as process:
        stage.up("first", session=STORY)
        await stage.idle()
        await stage.at_rest(process)
    status = stage.status()
    async with node.process() as process:
        assert await process.sweep.attempt()
        await node.until(lambda: len(node.fake.commands) > 1, "it is looked after")
        await stage.at_rest(process)
        writes = len(node.cluster.writes)
        assert await process.sweep.attempt()
        await stage.quiet(process)
        assert stage.status() == status
        assert len(node.cluster.writes) == writes


async def test_after_a_restart_of_the_node_the_status_says_that_nothing_runs(node: Node, stage: Stacked) -> None:
    async with node.process() as process:
        stage.up("first", session=STORY)
        await stage.idle()
        await stage.at_rest(process)
    node.switch_off()
    async with node.process() as process:
        assert await process.sweep.attempt()
        await node.until(lambda: {e["state"] for e in stage.entries().values()} == {"Stopped"}, "the status says so")
        assert not stage.running(), "nobody has asked for it"
        stage.up("second", session=STORY)
        await stage.idle()
        assert stage.running() == {"db", "cache"}
    assert stage.sent == ["first", "second"]


async def test_connections_to_podman_that_break_end_no_supervision(node: Node, stage: Stacked) -> None:
    async with node.process() as process:
        stage.up("first", session=STORY)
        await stage.idle()
        await stage.at_rest(process)
        waits = sum(call.endswith("/wait") for call in node.fake.calls)
        node.cut()
        await node.until(
            lambda: sum(c.endswith("/wait") for c in node.fake.calls) >= waits + 2, "it is waited for again"
        )
        assert stage.running() == {"db", "cache"}
        node.fake.end(stage.services()["cache"].name, 1)
        await node.until(lambda: stage.entries()["cache"].get("restarts") == 1, "it is started again")
        assert {name: one.get("restarts", 0) for name, one in stage.entries().items()} == {"db": 0, "cache": 1}


async def test_a_holder_that_ended_is_back_with_all_that_share_its_namespace(node: Node, stage: Stacked) -> None:
    app = "image: python:3.12, network_mode: 'service:db', depends_on: {db: {condition: service_healthy}}"
    async with node.process():
        stage.up("first", file(app=app), session=STORY)
        await stage.idle()
        [holder], database = stage.holders(), stage.services()["db"]
        started = database.started
        node.fake.end(holder.name, 137)
        stage.up("second", file(app=app), session=STORY)
        await stage.idle()
        assert stage.holders() == [holder]
        assert holder.status == "running"
        assert stage.services()["db"] is database
        assert database.started != started, "its namespace was gone"
    assert stage.sent == ["first", "second"]


async def test_a_start_that_is_broken_off_is_completed_by_the_next_run(node: Node, stage: Stacked) -> None:
    stage.healthy.clear()
    async with node.process() as process:
        stage.up("first", session=STORY)
        await node.until(lambda: stage.running() == {"db", "cache"}, "the services run")
        ids = {name: one.id for name, one in stage.services().items()}
        node.cluster.delete_run(SPACE, "first")
        await stage.quiet(process)
        stage.healthy.add("db")
        stage.up("second", session=STORY)
        await stage.idle()
        assert {name: one.id for name, one in stage.services().items()} == ids
    assert stage.sent == ["second"]
    assert sum("/start" in call for call in node.fake.calls if any(id in call for id in ids.values())) == 2


async def test_a_fork_has_a_stack_of_its_own(node: Node, stage: Stacked) -> None:
    async with node.process():
        stage.up("first", session=STORY)
        await stage.idle()
        before = stage.services()
        environment = {"type": "compose", "service": "app", "configMapKeyRef": {"name": STORY, "key": "file"}}
        uid = node.run("branch", image=None, environment=environment, session={"name": "fork", "fork": STORY})
        stage.names[uid["metadata"]["uid"]] = "branch"
        await node.finished()
        fork = stage.session("fork")["metadata"]["uid"]
        assert set(stage.services(fork)) == {"db", "cache"} == stage.running(fork)
        assert not {one.id for one in before.values()} & {one.id for one in stage.services(fork).values()}
        assert stage.services(stage.session()["metadata"]["uid"]) == before
    assert stage.sent == ["first", "branch"]
