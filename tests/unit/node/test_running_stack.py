"""A session's stack that is stopped because nobody has used it for a while, just as a run needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from stromboli.attempt.site import Site
from stromboli.compose.document.load import Source, load
from stromboli.compose.files import NoFiles
from stromboli.compose.selection import select
from stromboli.compose.typed.read import typed
from stromboli.errors import Conflict, NoSpace, PodmanError, PodmanUnavailable
from stromboli.node.serial import SessionLocks
from stromboli.node.stacks import parts, sockets
from stromboli.node.stacks.parts import Parts
from stromboli.node.stacks.running import Told
from stromboli.node.stacks.stacks import Stacks
from stromboli.node.stacks.tending import Ended
from stromboli.plan.stack import blueprint as blueprints
from stromboli.plan.stack.blueprint import Blueprint, LookedUp, Node, Owner
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.order import Phase
from stromboli.plan.stack.ports import Listening
from stromboli.plan.stack.sources import Identity
from stromboli.podman.container_state import ContainerState
from stromboli.podman.containers import Containers
from tests.support.built import policy
from tests.support.fake_podman import FakePodman
from tests.support.fake_podman_wire import within

UID = "7f1c2c2e-0000-4000-8000-000000000001"
FILE = "services: {app: {image: app:1}, db: {image: db:1, expose: [5432]}, cache: {image: cache:1}}"
SOON = 5.0  # seconds


class Bed:
    """The stacks of a node on a fake Podman, and the blueprint of one of `FILE`."""

    def __init__(self, fake: FakePodman, stacks: Stacks, blueprint: Blueprint, told: list[Told]) -> None:
        self.fake, self.stacks, self.blueprint, self.told = fake, stacks, blueprint, told

    async def up(self) -> None:
        async with asyncio.timeout(SOON):
            await self.stacks.of(UID).bring_up(self.blueprint, lambda _: None)

    async def is_up(self) -> bool:
        return await self.stacks.of(UID).is_up(self.blueprint)

    @property
    def running(self) -> list[str]:
        return sorted(c.labels["stromboli.dev/service"] for c in self.fake.containers.values() if c.status == "running")


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    async def listening(_: int) -> Listening:
        return Listening(frozenset({5432}))

    monkeypatch.setattr(sockets, "listening", listening)
    async with FakePodman(tmp_path / "podman.sock", served=False) as fake, within(fake.within) as podman:
        images = {name: fake.add_image(f"localhost/{name}:1", root=tmp_path).id for name in ("app", "db", "cache")}
        site = Site(tmp_path / "home", tmp_path / "run", "1")
        (tmp_path / "home").mkdir()
        told: list[Told] = []
        stacks = Stacks(podman, site, SessionLocks(), lambda _: None, lambda _, what: told.append(what))
        stack = typed(load([Source("file", None, FILE.encode())], {}, NoFiles()), NoFiles())
        found = LookedUp({name: Image(id, command=("serve",)) for name, id in images.items()}, {}, {}, {}, {})
        owner, node = Owner(UID, site.owner_labels(UID)), Node("10.0.0.1", {}, "/nowhere", "busybox")
        selected = select(stack, (), "app")
        yield Bed(fake, stacks, blueprints.draw(owner, stack, selected, found, policy(), node), told)
        await stacks.close()


def tasks(service: str) -> list[asyncio.Task[object]]:
    """Those that look after a service."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(f"service {service} (")]


async def nobody() -> None:
    """No run has taken the session."""


async def test_a_stack_that_nobody_uses_is_stopped_and_comes_up_again(bed: Bed) -> None:
    await bed.up()
    assert await bed.is_up()
    assert await bed.stacks.stop(UID, nobody)
    assert bed.running == []
    assert bed.stacks.find(UID) is None
    await bed.up()
    assert bed.running == ["cache", "db"]
    assert await bed.is_up()


async def test_no_run_begins_with_a_stack_that_is_about_to_be_stopped(bed: Bed) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def taken() -> None:
        asked.set()
        await answer.wait()
        raise Conflict("a run has taken the session")

    await bed.up()
    stopping = asyncio.create_task(bed.stacks.stop(UID, taken))
    await asked.wait()
    assert not await bed.is_up()
    answer.set()
    with pytest.raises(Conflict):
        await stopping
    assert await bed.is_up()
    assert bed.running == ["cache", "db"]


async def test_a_run_that_comes_while_a_stack_is_stopped_gets_all_of_it(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    real = Parts.stop

    async def slow(self: Parts, container: ContainerState) -> None:
        asked.set()
        await go_on.wait()
        await real(self, container)

    monkeypatch.setattr(Parts, "stop", slow)
    await bed.up()
    stopping = asyncio.create_task(bed.stacks.stop(UID, nobody))
    await asked.wait()
    assert not await bed.is_up()
    coming = asyncio.create_task(bed.up())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(coming, stopping)
    assert await bed.is_up()
    assert bed.running == ["cache", "db"]
    assert bed.stacks.find(UID) is not None
    assert len(tasks("db")) == 1


async def test_a_stack_that_a_run_has_brought_up_is_not_stopped(bed: Bed) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        asked.set()
        await answer.wait()

    await bed.up()
    stopping = asyncio.create_task(bed.stacks.stop(UID, slow))
    await asked.wait()
    await bed.up()
    answer.set()
    assert not await stopping
    assert await bed.is_up()
    assert bed.running == ["cache", "db"]


async def test_a_service_killed_a_moment_ago_is_started_at_once_and_counted(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has noticed yet: whoever looks after it waits for Podman to tell."""
    never = asyncio.Event()

    async def silent(_: Containers, __: str) -> int:
        await never.wait()
        return 0

    monkeypatch.setattr(Containers, "wait", silent)
    await bed.up()
    [database] = [name for name, c in bed.fake.containers.items() if c.labels["stromboli.dev/service"] == "db"]
    bed.fake.containers[database].status, bed.fake.containers[database].exit_code = "exited", 137
    assert not await bed.is_up()
    await bed.up()
    assert await bed.is_up()
    assert bed.running == ["cache", "db"]
    assert len(tasks("db")) == 1
    assert {one.name: one.restarts for one in bed.stacks.of(UID).seen} == {"db": 1, "cache": 0}
    assert [(one.service, one.code) for one in bed.told if isinstance(one, Ended)] == [("db", 137)]


async def test_a_server_that_was_stopped_comes_up_again_and_work_that_is_done_stays_done(bed: Bed) -> None:
    await bed.up()
    ended = {c.labels["stromboli.dev/service"]: c.name for c in bed.fake.containers.values()}
    for name in ended.values():
        bed.fake.end(name, 0)
    async with asyncio.timeout(SOON):
        while not all(one.state.phase is Phase.ended for one in bed.stacks.of(UID).seen):  # noqa: ASYNC110 - few turns
            await asyncio.sleep(0.001)
    assert bed.running == []
    assert not await bed.is_up()
    assert await bed.stacks.of(UID).is_up(bed.blueprint, since_start=True), "it might end again and again"
    await bed.up()
    assert bed.running == ["db"]
    assert await bed.is_up()


async def test_work_that_is_done_in_the_image_of_a_server_stays_done(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port was never listened on."""

    async def nothing(_: int) -> Listening:
        bed.fake.end(database, 0)
        return Listening()

    database = f"stromboli-{UID}-svc-db"
    monkeypatch.setattr(sockets, "listening", nothing)
    await bed.up()
    assert bed.running == ["cache"]
    assert await bed.is_up()


async def test_a_container_whose_first_start_was_broken_off_is_created_once_more(bed: Bed) -> None:
    refused = list[str]()

    async def refusing(self: Containers, name: str) -> None:
        if bed.fake.containers[name].labels["stromboli.dev/service"] == "db" and name not in refused[1:]:
            refused.append(name)
            if len(refused) == 1:
                raise PodmanError("the runtime knows a container with this id", 500)
        await real(self, name)

    real = Containers.start
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Containers, "start", refusing)
        await bed.up()
    assert bed.running == ["cache", "db"]
    assert len(refused) == 2
    assert refused[0] not in bed.fake.containers, "it was replaced"


def starts(bed: Bed) -> int:
    return len([call for call in bed.fake.calls if call.endswith("/start")])


def why(bed: Bed, service: str) -> str:
    return next(one.state.why for one in bed.stacks.of(UID).seen if one.name == service)


async def test_a_start_that_is_refused_for_a_while_succeeds(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "AGAIN", (0.0, 0.0, 0.0))
    bed.fake.fail("POST .*/start", times=3, says="netavark: IO error: busy")
    await bed.up()
    assert bed.running == ["cache", "db"]
    assert len(bed.fake.containers) == 2, "of those that were created once more, only the last is left"


async def test_a_start_that_goes_on_being_refused_is_given_up(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "AGAIN", (0.0, 0.0, 0.0))
    bed.fake.fail("POST .*/start", times=100, says="netavark: IO error: busy")
    await bed.up()  # no service is required
    assert bed.running == []
    assert why(bed, "db").startswith("cannot be started: Podman refused POST ")
    assert why(bed, "db").endswith("netavark: IO error: busy")
    assert starts(bed) == 2 * 4


async def test_a_container_that_has_run_is_started_again_as_it_is(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "AGAIN", (0.0, 0.0, 0.0))
    await bed.up()
    before = set(bed.fake.containers)
    assert await bed.stacks.stop(UID, nobody)
    bed.fake.fail("POST .*/start", times=3)
    await bed.up()
    assert bed.running == ["cache", "db"]
    assert set(bed.fake.containers) == before, "they have run, and may have data"


@pytest.mark.parametrize(
    "says",
    [
        'runc: exec: "x": executable file not found: OCI runtime attempted to invoke a command that was not found',
        "rootlessport listen tcp 127.0.0.1:5432: bind: address already in use",
        "unable to find user nobody-there: no matching entries in passwd file",
    ],
)
async def test_a_start_that_cannot_succeed_is_not_tried_again(bed: Bed, says: str) -> None:
    bed.fake.fail("POST .*/start", times=100, says=says)
    await bed.up()
    assert why(bed, "db").endswith(says)
    assert starts(bed) == 2


async def test_a_start_waits_for_room_on_the_node(bed: Bed) -> None:
    bed.fake.fail("POST .*/start", times=2, says="mkdir /run/x: no space left on device")
    with pytest.raises(NoSpace):
        await bed.up()
    await bed.up()
    assert bed.running == ["cache", "db"]


async def test_a_start_that_fails_leaves_no_other_one_under_way(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on, over = asyncio.Event(), asyncio.Event(), list[str]()
    real = Parts.start

    async def start(self: Parts, container: str, binds: Mapping[str, Identity]) -> None:
        name = bed.fake.containers[container].labels["stromboli.dev/service"]
        if name == "db":
            await began.wait()
            go_on.set()
            raise PodmanUnavailable("Podman did not answer")
        began.set()
        await go_on.wait()
        await asyncio.sleep(0)
        await real(self, container, binds)
        over.append(name)

    monkeypatch.setattr(Parts, "start", start)
    with pytest.raises(PodmanUnavailable):
        await bed.up()
    assert over == ["cache"]
