"""What the operator remembers of short lives: after many of them it is as much as before."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakValueDictionary

import pytest

from stromboli import naming
from stromboli.errors import PodmanError
from stromboli.reasons import Reason
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, Process, Roots, policy
from tests.unit.reconcile.faults import Trouble
from tests.unit.reconcile.stacked import Stacked
from tests.unit.reconcile.stage import Stage

LIVES = 8  # of each kind: one thing that is left of one of them is too much


def sizes(process: Process) -> dict[str, int]:
    """How much there is in every map, set and list that the operator's parts have, by where it is."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def go_through(value: object, where: str) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, MethodType):
            go_through(value.__self__, where)
        elif isinstance(value, FunctionType):
            for cell in value.__closure__ or ():
                go_through(cell.cell_contents, where)
        elif isinstance(value, dict | set | list | WeakValueDictionary):
            found[where] = len(value)
        elif type(value).__module__.startswith("stromboli."):
            for name in _fields(value):
                go_through(getattr(value, name), f"{type(value).__name__}.{name}")

    for part in (process.sweep, process.queue, process.store):
        go_through(part, "")
    return found


def _fields(part: object) -> list[str]:
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(part, "__dict__", ()), *(name for name in slots if hasattr(part, name))]


async def hangs(inside: Inside) -> None:
    """It is at work until somebody ends it."""


@dataclass(frozen=True)
class Life:
    """A kind of short life: how it begins, by number, and what it has come to when it is ended from outside."""

    begin: Callable[[Node, Stage, str], object]
    reached: Callable[[Mapping[str, Any]], bool] = is_finished
    agent: Callable[[Inside], Awaitable[None]] | None = None
    namespace: Callable[[str], str] = lambda _: SPACE
    end: Callable[[Node, str, str], object] = lambda node, space, name: node.cluster.delete_run(space, name)


def _unseen(node: Node, space: str, name: str) -> None:
    """The watch does not report the deletion."""
    del node.cluster.objects[space, name]


def _in_a_new_namespace(node: Node, _: Stage, name: str) -> None:
    """In which nothing restricts images: there is an event for that, once."""
    node.cluster.all_policies[:] = [policy(images={})]
    node.cluster.add_run(f"space-{name}", name, {"prompt": "answer", "image": "python:3.12"})


def _begun(status: Mapping[str, Any]) -> bool:
    return bool(status)


def _stacked(stage: Stage, name: str, **more: Any) -> None:
    assert isinstance(stage, Stacked)
    stage.up(name, **more)


def _failing(stage: Stage, name: str) -> None:
    assert isinstance(stage, Stacked)
    stage.fail("db")
    stage.up(name)


def _waiting(stage: Stage, name: str) -> None:
    assert isinstance(stage, Stacked)
    stage.healthy.clear()
    stage.up(name)


def _starting(status: Mapping[str, Any]) -> bool:
    return reason_of(status) == Reason.StartingServices and "cache ready" in json.dumps(status)


WAITING = {"prompt": None, "promptFrom": {"configMapKeyRef": {"name": "nothing", "key": "k"}}}
KINDS = {
    "refused": Life(lambda node, _, name: node.run(name, workdir="/proc/x")),
    "completed": Life(lambda node, _, name: node.run(name)),
    "deleted-at-work": Life(lambda node, _, name: node.run(name), lambda s: reason_of(s) == Reason.Running, hangs),
    "deleted-while-it-waits": Life(lambda node, _, name: node.run(name, **WAITING), _begun),
    "deletion-unseen": Life(lambda node, _, name: node.run(name), end=_unseen),
    "in-a-session": Life(lambda _, stage, name: stage.run(name, f"session-{name}")),
    "with-a-stack": Life(lambda _, stage, name: _stacked(stage, name)),
    "with-a-stack-in-a-session": Life(lambda _, stage, name: _stacked(stage, name, session=f"session-{name}")),
    "with-a-stack-that-fails": Life(lambda _, stage, name: _failing(stage, name)),
    "deleted-while-its-stack-starts": Life(lambda _, stage, name: _waiting(stage, name), _starting),
    "in-a-namespace": Life(_in_a_new_namespace, namespace=lambda name: f"space-{name}"),
    "with-an-image": Life(lambda node, _, name: node.run(name, image=f"localhost:9/none:{name}"), _begun),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_many_short_lives_leave_nothing_in_memory(node: Node, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.node.pulls.REMEMBER_PULL", 0.0)
    monkeypatch.setattr("stromboli.node.networks.FRESH", 0.0)
    life = KINDS[kind]
    stage = Stacked(node, monkeypatch) if "-stack" in kind else Stage(node)
    if kind != "in-a-session" and "-stack" not in kind:
        node.supervisor = None
    node.agent = life.agent
    async with node.process() as process:
        await live(node, stage, life, range(2))  # what is remembered of the node itself
        before = await settled(node, process)
        await live(node, stage, life, range(2, LIVES))
        after = await settled(node, process)
    assert after == before


async def live(node: Node, stage: Stage, life: Life, numbers: range) -> None:
    where = {name: life.namespace(name) for name in (f"r{n}" for n in numbers)}
    for name in where:
        life.begin(node, stage, name)

    def all_reached() -> bool:
        found = node.cluster.objects
        return all(life.reached(found[space, name].get("status") or {}) for name, space in where.items())

    await node.until(all_reached, "each has come to what it was to come to")
    for name, space in where.items():
        life.end(node, space, name)
        if (space, f"session-{name}") in node.cluster.all_sessions:
            await node.cluster.delete_session(space, f"session-{name}")


async def settled(node: Node, process: Process) -> dict[str, int]:
    assert await process.sweep.attempt()
    await node.until(lambda: len(process.queue) == 0, "all is quiet")
    assert await process.sweep.attempt()
    await node.until(lambda: len(process.queue) == 0, "all is quiet")
    await process.expiry.look()  # which the process does by itself
    found = sizes(process)
    # One at most: whether the mount of the CLI is to be looked at depends on which pass over a run was the last.
    assert found.pop("CLIMounts._doubted") <= 1
    return found


async def test_one_part_of_a_sweep_that_podman_refuses_fails_no_other(node: Node) -> None:
    """Nor is all listed again at once for it."""
    trouble = Trouble(error=PodmanError("no", 500))
    async with node.process(trouble=trouble) as process:
        node.run()
        await node.finished()
        await node.until(lambda: len(process.queue) == 0, "all is quiet")
        trouble.calls.clear()
        assert await process.sweep.attempt()
        # Before that, the networks of stacks are listed, without which nothing is known of the node.
        assert trouble.calls.count("GET /networks/json") == 2
        trouble.at = len(trouble.calls) - trouble.calls[::-1].index("GET /networks/json")
        trouble.calls.clear()
        assert await process.sweep.attempt(), "it went through"
        assert len(trouble.calls) >= trouble.at
        trouble.at = None
        trouble.matching = "GET /containers/json"
        assert not await process.sweep.attempt(), "nothing is known of the node"


async def test_the_holder_of_an_old_cli_goes_though_a_session_that_had_it_stays(
    node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holders() -> set[str]:
        return {c.image_id for c in node.fake.containers.values() if c.labels.get(naming.ROLE) == naming.ROLE_HOLDER}

    new = node.fake.add_image("localhost/stromboli/agent:new", root=roots.cli)
    new.id = "f" * 64  # holders are called by the first digits
    stage = Stage(node)
    stage.run("first")
    async with node.process() as process:
        await stage.idle()
        [old] = holders()
        image = {"image": "localhost/stromboli/agent", "tag": "new", "pull": "Never"}
        node.cluster.all_policies[:] = [policy(cli=image)]
        stage.run("second", "another")
        await stage.idle("another")
        assert await process.sweep.attempt()
        assert holders() == {old, new.id}, "somebody may want it again"
        monkeypatch.setattr("stromboli.node.cli.UNUSED", 0.0)
        assert await process.sweep.attempt()
        assert holders() == {new.id}
        stage.run("third")
        await stage.idle()
    assert stage.sent == ["first", "second", "third"]
