"""Finished runs are deleted in time, with all that they have on the node; and no others are."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stromboli.attempt.removal import remove_tree
from stromboli.errors import ClusterUnavailable, Rejected
from stromboli.grammar import times
from stromboli.node import cleanup
from stromboli.perform import expiry
from tests.support.fake_cluster import Object
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import PATIENCE, SPACE, Inside, Node, Process, Roots, elsewhere, made_node, policy
from tests.unit.reconcile.faults import Killed, Killer
from tests.unit.reconcile.stage import STORY, Stage


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PAUSE", 0.005)
    monkeypatch.setattr(expiry, "PATIENCE", 1.0)
    monkeypatch.setattr(expiry, "backoff", lambda failures: 0.01)


@asynccontextmanager
async def deleting(process: Process) -> AsyncIterator[None]:
    """As in the operator's process: beside the rest. What has been deleted is cleaned up at the end."""
    task = asyncio.create_task(process.expiry.run())
    try:
        yield
        assert not task.done(), "it lasts as long as the operator"
        await cleaned(process)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Killed):
            await task


async def cleaned(process: Process) -> None:
    """Until what deleted runs had on the node is removed."""
    async with asyncio.timeout(PATIENCE):
        while process.store._deleted:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.002)


def there(node: Node) -> set[str]:
    return {name for _, name in node.cluster.objects}


async def gone(node: Node, *names: str) -> None:
    await node.until(lambda: not there(node) & set(names), f"{names} are deleted")


async def nothing_left(node: Node, uid: str) -> None:
    await node.until(lambda: node.left(uid) == [], f"nothing of {uid} is on the node")


def long_ago(node: Node, name: str, seconds: float = 3600.0) -> None:
    """A finished run ended that long ago."""

    def change(obj: Object) -> None:
        obj["status"]["completionTime"] = times.to_micro(datetime.now(UTC) - timedelta(seconds=seconds))

    node.cluster.change(SPACE, name, change)


def ttl(node: Node, name: str, seconds: int | None) -> None:
    """Somebody changes the time to live."""
    node.cluster.change(SPACE, name, lambda obj: obj["spec"].update(ttlSecondsAfterFinished=seconds))


async def looked(process: Process) -> None:
    """Until nothing that is known now is due."""
    await process.expiry.look()
    await process.expiry.look()
    await cleaned(process)


@contextlib.contextmanager
def unheard(node: Node) -> Iterator[None]:
    """The watch reports nothing for a while."""
    heard, node.cluster.listeners[:] = node.cluster.listeners[:], []
    try:
        yield
    finally:
        node.cluster.listeners[:] = heard


async def hang(inside: Inside) -> None:
    """An agent that works for ever."""


def deletions(node: Node) -> list[str]:
    return [write.split()[1].partition("/")[2] for write in node.cluster.writes if write.endswith(" deleted")]


# --- the time to live of a run ---


async def test_a_run_is_deleted_as_soon_as_it_has_ended(node: Node) -> None:
    uid = node.run(ttlSecondsAfterFinished=0)["metadata"]["uid"]
    async with node.process() as process, deleting(process):
        await gone(node, "run")
        await nothing_left(node, uid)
        await node.until(process.is_idle, "nothing is to be done")
        assert len(process.store) == 0
    assert len(node.prompts) == 1
    assert [write for write in node.cluster.writes if " space/run" in write][-2:] == [
        "status space/run Completed",
        "run space/run deleted",
    ]


async def test_not_before_its_time_is_over(node: Node) -> None:
    node.run("long", ttlSecondsAfterFinished=3600)
    node.run("short", ttlSecondsAfterFinished=1)
    async with node.process() as process, deleting(process):
        await node.finished("long")
        await gone(node, "short")
    assert there(node) == {"long"}


async def test_a_change_of_a_finished_run_takes_effect_at_once(node: Node) -> None:
    node.run("later", ttlSecondsAfterFinished=3600)
    node.run("never")
    async with node.process() as process, deleting(process):
        await node.finished()
        long_ago(node, "later", 1800.0)
        ttl(node, "later", 1000)
        ttl(node, "never", 0)
        await gone(node, "later", "never")


async def test_one_that_is_taken_back_counts_no_more(node: Node) -> None:
    node.run(ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "it is cleaned up")
        long_ago(node, "run", 7200.0)
        ttl(node, "run", None)
        await node.until(process.is_idle, "the change is read")
        await looked(process)
    assert there(node) == {"run"}


async def test_a_change_that_the_watch_has_not_reported_counts_too(node: Node) -> None:
    """It is deleted only as the version that was decided on."""
    node.run(ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "it is cleaned up")
        long_ago(node, "run", 7200.0)
        await node.until(process.is_idle, "the change is read")
        with unheard(node):
            ttl(node, "run", None)
            await looked(process)
            assert there(node) == {"run"}
            ttl(node, "run", 0)
            await process.sweep.once()  # its survey finds what the watch has missed
            await looked(process)
    assert there(node) == set()


@pytest.mark.parametrize("state", ["running", "in a session's queue", "waiting", "in line"])
async def test_no_other_is_deleted(node: Node, state: str) -> None:
    node.cluster.all_policies[:] = [policy(historyLimit=0, defaults={"ttl": "1ms"})]
    settings = node.settings.model_copy(update={"max_runs": 1}) if state == "in line" else node.settings
    node.agent = hang
    match state:
        case "running":
            node.run(ttlSecondsAfterFinished=0)
            wanted = "Running"
        case "waiting":
            missing = {"configMapKeyRef": {"name": "prompts", "key": "one"}}
            node.run(prompt=None, promptFrom=missing, ttlSecondsAfterFinished=0)
            wanted = "WaitingForReference"
        case _:
            session: dict[str, Any] = {"session": {"name": STORY}} if state == "in a session's queue" else {}
            node.run("first", **session)
            wanted = "Queued"
    async with node.process(settings=settings) as process, deleting(process):
        if wanted == "Queued":
            await node.until(lambda: bool(node.prompts), "the first is at work")
            node.run(ttlSecondsAfterFinished=0, **session)
        await node.reason(wanted)
        await process.sweep.once()
        await looked(process)
    assert "run" in there(node)
    assert deletions(node) == []


async def test_a_run_that_never_started_is_deleted_too(node: Node) -> None:
    node.run(image="python:3.12", volumes=["/etc:/x:neither"], ttlSecondsAfterFinished=0)
    async with node.process() as process, deleting(process):
        await gone(node, "run")
    assert node.prompts == []


async def test_one_that_a_finalizer_keeps_is_deleted_once(node: Node) -> None:
    obj = node.run(ttlSecondsAfterFinished=0)
    node.cluster.change(SPACE, "run", lambda found: found["metadata"].update(finalizers=["example.org/keep"]))
    async with node.process() as process, deleting(process):
        await node.until(lambda: "deletionTimestamp" in node.get()["metadata"], "it is being deleted")
        await nothing_left(node, obj["metadata"]["uid"])
        await process.sweep.once()
        await looked(process)
    assert deletions(node) == ["run"]


# --- policies ---


async def test_the_policies_time_to_live(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(defaults={"ttl": "30m"})]
    node.run("old")
    node.run("new")
    node.run("own", ttlSecondsAfterFinished=86400)
    async with node.process() as process, deleting(process):
        await node.finished()
        long_ago(node, "old")
        long_ago(node, "own")
        await gone(node, "old")
        await looked(process)
    assert there(node) == {"new", "own"}


async def test_the_history_of_a_namespace(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(historyLimit=2), {"metadata": {"name": "b"}, "spec": {"historyLimit": 9}}]
    async with node.process() as process, deleting(process):
        for n in range(4):
            node.run(f"run-{n}")
            await node.finished(f"run-{n}")
            await node.until(process.is_idle, "it is cleaned up")
            await looked(process)
            assert deletions(node) == [f"run-{i}" for i in range(n - 1)]
    assert there(node) == {"run-2", "run-3"}


async def test_each_namespace_has_its_own_history(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(historyLimit=1)]
    node.cluster.labels["other"] = {}
    async with node.process() as process, deleting(process):
        node.run("run")
        await node.finished("run")
        node.cluster.add_run("other", "run", {"prompt": "answer", "image": "python:3.12"})
        await node.until(lambda: is_finished(node.cluster.objects["other", "run"].get("status") or {}), "it has ended")
        await looked(process)
    assert deletions(node) == []


async def test_a_policy_for_other_namespaces_deletes_nothing_here(node: Node) -> None:
    other = {"metadata": {"name": "b"}, "spec": {"historyLimit": 0, "namespaceSelector": {"matchLabels": {"a": "b"}}}}
    node.cluster.all_policies.append(other)
    node.run()
    async with node.process() as process, deleting(process):
        await node.finished()
        await looked(process)
        assert there(node) == {"run"}
        node.cluster.labels[SPACE] = {"a": "b"}
        process.wakers.policies()
        await gone(node, "run")


async def test_a_policy_that_changes(node: Node) -> None:
    node.run("one")
    node.run("two")
    async with node.process() as process, deleting(process):
        await node.finished()
        await looked(process)
        assert there(node) == {"one", "two"}
        node.cluster.all_policies[:] = [policy(historyLimit=0)]
        process.wakers.policies()
        await gone(node, "one", "two")


async def test_a_policy_that_was_taken_back_deletes_nothing_although_nobody_has_said_so(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(historyLimit=1)]
    async with node.process() as process:
        node.run("one")
        await node.finished("one")
        await looked(process)
        node.cluster.all_policies[:] = [policy(historyLimit=2)]
        node.run("two")
        await node.finished("two")
        await node.until(process.is_idle, "the runs are cleaned up")
        await looked(process)
        assert there(node) == {"one", "two"}


@pytest.mark.parametrize(
    "spec",
    [{"defaults": {"ttl": "2ms"}}, {"network": 5}, {"defaults": {"ttl": "1d"}}],
    ids=["another value", "cannot be read", "no duration"],
)
async def test_policies_that_contradict_each_other_delete_nothing(node: Node, spec: dict[str, Any]) -> None:
    sound = [policy(historyLimit=0, defaults={"ttl": "1ms"})]
    node.run("by-policy")
    node.run("by-itself", ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "the runs are cleaned up")
        node.cluster.all_policies[:] = [*sound, {"metadata": {"name": "b"}, "spec": spec}]
        async with deleting(process):
            process.wakers.policies()
            ttl(node, "by-itself", 0)
            await gone(node, "by-itself")
            await looked(process)
            assert there(node) == {"by-policy"}
            node.cluster.all_policies[:] = sound
            process.wakers.policies()
            await gone(node, "by-policy")


async def test_a_policy_that_is_corrected_stops_a_deletion_of_many(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH", 2)
    names = [f"run-{n}" for n in range(5)]
    for name in names:
        node.run(name)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "the runs are cleaned up")
        node.cluster.all_policies[:] = [policy(historyLimit=0)]
        process.wakers.policies()
        await process.expiry.look()
        assert len(there(node)) == 3
        node.cluster.all_policies[:] = [policy()]
        await looked(process)
    assert len(there(node)) == 3


# --- what goes wrong ---


async def test_a_new_operator_finds_all_deadlines_in_its_first_list(node: Node) -> None:
    uid = node.run("over", ttlSecondsAfterFinished=600)["metadata"]["uid"]
    node.run("going-on", ttlSecondsAfterFinished=86400)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "the runs are cleaned up")
    long_ago(node, "over")
    async with node.process() as process:
        with unheard(node):
            await process.sweep.begin()
            async with deleting(process):
                await gone(node, "over")
                await nothing_left(node, uid)
    assert there(node) == {"going-on"}


async def test_an_api_server_that_is_away_is_asked_again(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.run(ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "it is cleaned up")
        ttl(node, "run", 0)
        await node.until(process.is_idle, "the change is read")
        async with deleting(process):
            node.cluster.away = True
            await node.until(lambda: "are deleted later" in caplog.text, "it has tried")
            assert there(node) == {"run"}
            node.cluster.away = False
            await gone(node, "run")


FORBIDDEN = Rejected("the API server forbids it")
FAILS = ClusterUnavailable("the API server: failed calling a webhook")


@pytest.mark.parametrize("error", [FORBIDDEN, FAILS], ids=["forbidden", "fails"])
async def test_one_that_cannot_be_deleted_does_not_keep_the_others(node: Node, error: Exception) -> None:
    node.cluster.undeletable[SPACE, "kept"] = error
    node.cluster.all_policies[:] = [policy(historyLimit=0)]
    node.run("kept", ttlSecondsAfterFinished=0)
    node.run("a", ttlSecondsAfterFinished=0)
    node.run("z")
    async with node.process() as process, deleting(process):
        await gone(node, "a", "z")
        tries = Counter(what[0] for what in node.cluster.asked)["delete run"]
        await node.until(lambda: Counter(what[0] for what in node.cluster.asked)["delete run"] > tries, "tried again")
        node.cluster.undeletable.clear()
        await gone(node, "kept")


@pytest.mark.parametrize(("error", "tries"), [(FORBIDDEN, 20), (FAILS, expiry.TRIES)], ids=["forbidden", "fails"])
async def test_those_that_cannot_be_deleted_are_tried_less_and_less_often(
    node: Node, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
) -> None:
    names = [f"run-{n:02}" for n in range(20)]
    for name in names:
        node.run(name)
        node.cluster.undeletable[SPACE, name] = error
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "the runs are cleaned up")
        node.cluster.all_policies[:] = [policy(historyLimit=0)]
        monkeypatch.setattr(expiry, "backoff", lambda failures: 3600.0)
        node.cluster.asked.clear()
        with contextlib.nullcontext() if tries == len(names) else pytest.raises(ClusterUnavailable):
            await process.expiry.look()
        by_end = sorted(names, key=lambda name: str(node.status(name)["completionTime"]))
        assert deleted(node) == by_end[:tries], "the oldest end first"
        for n in range(3 if tries == len(names) else 0):
            ttl(node, names[n], 3600)
            await node.until(process.is_idle, "the change is read, and the namespace is looked at again")
            await process.expiry.look()
        assert Counter(what[0] for what in node.cluster.asked)["policies"] == 2, "and nothing is read for them"
        assert len(deleted(node)) == tries
        for name in names:
            node.cluster.delete_run(SPACE, name)
        await process.expiry.look()
        assert (process.expiry._failed, process.expiry._next) == ({}, {}), "nothing is remembered of them"
        await cleaned(process)


def deleted(node: Node) -> list[str]:
    """Of whom a deletion was asked for."""
    return [what[2] for what in node.cluster.asked if what[0] == "delete run"]


async def test_somebody_labels_it_at_that_moment(node: Node) -> None:
    """The deletion is of a version that is no more; the run is read, and deleted nevertheless."""
    node.run(ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        await node.finished()
        await node.until(process.is_idle, "it is cleaned up")
        with unheard(node):
            ttl(node, "run", 0)
            await process.sweep.once()
            node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].setdefault("labels", {}).update(a="b"))
            async with deleting(process):
                await gone(node, "run")


async def test_another_run_of_that_name_is_not_deleted(node: Node) -> None:
    node.run(ttlSecondsAfterFinished=3600)
    async with node.process() as process:
        old = (await finished_quietly(node, process))["metadata"]["uid"]
        with unheard(node):
            ttl(node, "run", 0)
            await process.sweep.once()
            node.cluster.delete_run(SPACE, "run")
            node.run()
            await looked(process)
            await nothing_left(node, old)
    assert there(node) == {"run"}
    assert deletions(node) == []


async def finished_quietly(node: Node, process: Process) -> Object:
    await node.finished()
    await node.until(process.is_idle, "it is cleaned up")
    return node.get()


async def test_of_two_operators_each_deletes_its_own(node: Node) -> None:
    with elsewhere(node, "node-b") as other:
        async with node.process() as here:
            node.run(ttlSecondsAfterFinished=3600)
            await finished_quietly(node, here)
        async with node.process() as here, node.process(settings=other) as there_:
            ttl(node, "run", 0)
            for process in (here, there_):
                await process.sweep.begin()
            async with deleting(there_):
                await looked(there_)
                assert there(node) == {"run"}, "it waits for the operator of the run's node"
                async with deleting(here):
                    await gone(node, "run")
                await node.until(there_.is_idle, "the other has heard of it")
    assert Counter(what[0] for what in node.cluster.asked)["delete run"] == 1


async def test_the_session_of_a_deleted_run_goes_on(node: Node) -> None:
    stage = Stage(node)
    async with node.process() as process, deleting(process):
        first = stage.run("first", STORY, ttlSecondsAfterFinished=0)
        stage.hold("second")
        stage.run("second", STORY)
        stage.run("third", STORY, ttlSecondsAfterFinished=0)
        await stage.at_work("second")
        await gone(node, "first")
        await node.until(
            lambda: not list(node.settings.home.glob(f"sessions/*/attempts/{first}-*")), "its attempt is removed"
        )
        stage.let("second")
        await gone(node, "third")
        status = await stage.idle()
        await node.until(process.is_idle, "nothing is to be done")
    assert stage.sent == ["first", "second", "third"]
    assert status["runs"] == 3
    assert len(node.agents()) == 1, "the session's container stays"
    assert there(node) == {"second"}


async def test_an_attempts_secrets_go_before_its_folder(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, an operator leaves the folder, which the next one finds."""
    known: list[tuple[str, list[Path]]] = []

    def secrets(attempt: str) -> list[Path]:
        return list(node.settings.runtime_dir.rglob(attempt))

    def remove(folder: Path) -> None:
        known.append((folder.name, secrets(folder.name)))
        remove_tree(folder)

    async def says_a_secret(inside: Inside) -> None:
        node.answer(inside, before=b"sk-of-some-length\n")

    node.cluster.secrets["stromboli-system", "claude"] = {"ANTHROPIC_API_KEY": b"sk-of-some-length"}
    node.agent = says_a_secret
    monkeypatch.setattr(cleanup, "remove_tree", remove)
    uid = node.run(session={"name": STORY}, ttlSecondsAfterFinished=3600)["metadata"]["uid"]
    async with node.process() as process:
        await finished_quietly(node, process)
        assert len(secrets(f"{uid}-1")) == 1, "they are kept with the output"
        ttl(node, "run", 0)
        await node.until(process.is_idle, "the change is read")
        await looked(process)
    assert known == [(f"{uid}-1", [])]


# --- what it costs ---


async def asked(roots: Roots, *, expiring: bool) -> tuple[Counter[str], list[str]]:
    async with made_node(roots) as node, node.process() as process:
        if expiring:
            await looked(process)
        node.cluster.asked.clear()
        node.run()
        await node.finished()
        await node.until(process.is_idle, "it is cleaned up")
        if expiring:
            await looked(process)
        return Counter(what[0] for what in node.cluster.asked), list(node.cluster.writes)


async def test_a_simple_run_costs_no_call_more(roots: Roots) -> None:
    if not roots.facts.exists():  # the first has to look into the images
        await asked(roots, expiring=False)
    assert await asked(roots, expiring=True) == await asked(roots, expiring=False)


# --- killed at each call ---


async def until_killed_or_gone(node: Node, killer: Killer, name: str) -> str:
    """One operator, until it is killed or the run of that name is gone; which of the two, for messages."""
    async with node.process(killer) as process:
        task = asyncio.create_task(process.expiry.run())

        def over() -> bool:
            return killer.dead.is_set() or (name not in there(node) and process.is_idle())

        await node.until(over, f"an operator that is killed at call {killer.at}, or is through")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Killed):
            await task
    return f"killed at call {killer.at}, {killer.calls[-1]}"


async def killed_at(roots: Roots, prepare: Callable[[Node], None], number: int | None, *, after: bool) -> list[str]:
    async with made_node(roots) as node:
        prepare(node)
        uids = [obj["metadata"]["uid"] for obj in node.cluster.objects.values()]
        killer = Killer(number, after=after)
        told = await until_killed_or_gone(node, killer, "run")
        async with node.process() as process:
            await process.sweep.begin()
            async with deleting(process):
                await gone(node, "run")
                await process.sweep.once()
                for uid in uids:
                    await nothing_left(node, uid)
                await node.until(process.is_idle, "nothing is to be done")
        assert len(node.prompts) == len(set(node.prompts)) <= len(uids), told
        assert there(node) <= {"kept"}, told
        if "kept" in there(node):
            assert reason_of(node.status("kept")) == "Completed", told
    return killer.calls


def by_itself(node: Node) -> None:
    node.run(ttlSecondsAfterFinished=0)


def by_policy(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(historyLimit=0)]
    node.run()


def roots_of(node: Node) -> tuple[Path, Path]:
    """Where everything is that the operator has on the node, and on tmpfs."""
    return node.settings.home, node.settings.runtime_dir


async def killed_in_a_session_at(roots: Roots, number: int | None, *, after: bool) -> list[str]:
    """As `killed_at`; the session goes on."""
    async with made_node(roots) as node:
        stage = Stage(node)
        first = stage.run("first", STORY, ttlSecondsAfterFinished=0)
        killer = Killer(number, after=after)
        told = await until_killed_or_gone(node, killer, "first")
        async with node.process() as process:
            await process.sweep.begin()
            async with deleting(process):
                await gone(node, "first")
                stage.run("second", STORY)
                status = await stage.idle()
                await process.sweep.once()
                await node.until(process.is_idle, "nothing is to be done")
                left = [path for root in roots_of(node) for path in root.rglob(f"*{first}*")]
        assert left == [], told
        assert stage.sent == ["first", "second"], told
        assert status["runs"] == 2, told
        assert reason_of(node.status("second")) == "Completed", told
        assert len(node.agents()) == 1, told
    return killer.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_in_a_session(roots: Roots, after: bool) -> None:
    if not roots.facts.exists():
        await killed_in_a_session_at(roots, None, after=False)
    calls = await killed_in_a_session_at(roots, None, after=False)
    last = len(calls) - calls[::-1].index("put status")
    assert "delete run" in calls[last:]
    for number in range(last, len(calls) + 1):
        await killed_in_a_session_at(roots, number, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("prepare", [by_itself, by_policy])
async def test_killed_at_any_call(roots: Roots, prepare: Callable[[Node], None], after: bool) -> None:
    """From the call that writes the end on: what is before that has its own tests."""
    if not roots.facts.exists():
        await killed_at(roots, prepare, None, after=False)
    calls = await killed_at(roots, prepare, None, after=False)
    last = len(calls) - calls[::-1].index("put status")
    assert "delete run" in calls[last:]
    for number in range(last, len(calls) + 1):
        await killed_at(roots, prepare, number, after=after)
