"""What is served of a service's log: by its name in the file, from an offset, as it is written, and without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt.given import SERVICES
from stromboli.errors import PodmanUnavailable
from stromboli.models.run import RunStatus
from stromboli.perform.logs import services as service_logs
from stromboli.perform.logs.asked import NoOutput, State
from stromboli.perform.logs.services import ServiceLogs
from stromboli.perform.logs.steps import Outputs
from stromboli.plan import redaction
from stromboli.plan.stack import names
from tests.support.builders import UID
from tests.support.fake_podman import FakeContainer, FakePodman, Program
from tests.support.fake_podman_wire import within
from tests.unit.perform.test_logs_steps import Bed, Following

PASSWORD = b"the-password-of-the-database"


class Stack(Bed):
    """A run with a service `my_db`."""

    def __init__(self, tmp_path: Path, fake: FakePodman, podman: Any) -> None:
        super().__init__(tmp_path)
        self.fake, self.podman = fake, podman
        self.outputs = Outputs(self._lookup, self.store, self.site, "node-1", ServiceLogs(podman, self.site))
        self.folder.write_given(SERVICES, redaction.of_files([PASSWORD + b"\n"]))
        fake.program = lambda _: Program(output=b"listening\n")

    async def serve(self, service: str = "my_db") -> FakeContainer:
        key = names.container(UID, service)
        body = {
            "image": "db:1",
            "name": key.name,
            "labels": {**self.site.labels(key, "team/a"), naming.SERVICE: service},
            "log_configuration": {"driver": "k8s-file"},
        }
        await self.podman.containers.start(await self.podman.containers.create(body))
        found = self.fake.find(key.name)
        assert found is not None
        return found


@pytest.fixture
async def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    monkeypatch.setattr(service_logs, "CHECK", 0.05)
    async with FakePodman(tmp_path / "podman.sock", served=False) as fake, within(fake.within) as podman:
        fake.add_image("db:1", root=tmp_path)
        yield Stack(tmp_path, fake, podman)


async def test_it_is_found_by_its_name_in_the_file_and_read_from_an_offset(stack: Stack) -> None:
    await stack.serve()
    answer = await stack.open(service="my_db")
    assert (answer.attempt, answer.offset, answer.state) == (1, 0, State.running)
    assert await stack.all(service="my_db") == b"listening\n"
    assert await stack.all(service="my_db", offset=3) == b"tening\n"
    assert await stack.all(service="my_db", offset=3, limit=2) == b"te"
    assert await stack.all(service="my_db", offset=10) == b""
    assert await stack.all(service="my_db", since=60) == b"listening\n"
    assert await stack.all(service="my_db", since=-60) == b""


async def test_one_that_was_begun_anew_is_served_from_its_beginning(stack: Stack) -> None:
    await stack.serve()
    answer = await stack.open(service="my_db", offset=1000)
    assert answer.offset == 1000
    assert b"".join([piece async for piece in answer.pieces]) == b"listening\n"


async def test_it_is_followed_until_the_attempt_is_over(stack: Stack) -> None:
    container = await stack.serve()
    following = Following(await stack.open(service="my_db", follow=True))
    await following.until(b"listening\n")
    container.log += b"password: " + PASSWORD[:10]
    await following.until(b"listening\npassword: ")
    container.log += PASSWORD[10:] + b"!\n"
    said = b"listening\npassword: " + b"*" * len(PASSWORD) + b"!\n"
    await following.until(said)
    stack.attempts(1, over=True)
    assert await following.ended() == said
    assert (await stack.open(service="my_db", follow=True)).state is State.ended
    assert await stack.all(service="my_db", follow=True) == said


async def test_it_is_followed_until_it_ends_and_a_follower_that_goes_leaves_nothing(stack: Stack) -> None:
    container = await stack.serve()
    one, other = [Following(await stack.open(service="my_db", follow=True)) for _ in range(2)]
    await one.until(b"listening\n")
    await other.until(b"listening\n")
    one.task.cancel()
    await asyncio.wait([one.task])
    container.log += b"bye"
    stack.fake.finish(container, 0)
    assert await other.ended() == b"listening\nbye"


async def test_what_is_no_service_is_said(stack: Stack) -> None:
    with pytest.raises(NoOutput, match="`service` is 'db', which is no service of a; it has none on the node"):
        await stack.open(service="db")
    await stack.serve()
    await stack.serve("cache")
    with pytest.raises(NoOutput, match="`service` is 'db', which is no service of a; it has cache, my_db"):
        await stack.open(service="db")
    with pytest.raises(NoOutput, match="which is no service of a"):
        await stack.open(service="../../etc\n")


async def test_a_status_that_names_a_session_of_others_leads_to_none_of_its_services(stack: Stack) -> None:
    other = "22222222-2222-4222-8222-222222222222"
    key = names.container(other, "my_db")
    labels = {**stack.site.labels(key, "others/b"), naming.SERVICE: "my_db"}
    body = {"image": "db:1", "name": key.name, "labels": labels, "log_configuration": {"driver": "k8s-file"}}
    await stack.podman.containers.start(await stack.podman.containers.create(body))
    stack.site.folder(other).write_given(SERVICES, redaction.of_files([PASSWORD]))
    assert stack.run is not None
    forged = {**stack.run.status.wire, "session": {"name": "b", "uid": other}}
    stack.run = replace(stack.run, status=RunStatus(forged))
    for asked in ({"service": "my_db"}, {"service": "no"}, {}):
        with pytest.raises(NoOutput, match="no longer on the node"):
            await stack.open(**asked)


async def test_without_its_secrets_nothing_is_shown(stack: Stack) -> None:
    await stack.serve()
    stack.folder.forget_given(SERVICES)
    with pytest.raises(NoOutput, match="is withheld") as raised:
        await stack.open(service="my_db")
    assert raised.value.why == "withheld"


async def test_a_podman_that_is_away_is_said(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise PodmanUnavailable("Podman does not answer")

    monkeypatch.setattr(stack.podman.containers, "inspect", away)
    with pytest.raises(PodmanUnavailable):
        await stack.open(service="my_db")


async def test_the_secrets_of_services_go_with_the_stack(stack: Stack) -> None:
    stack.folder.note_stack()
    stack.folder.remove_stack()
    assert not stack.folder.read_given(SERVICES).known
    assert stack.folder.read_given(f"{UID}-1").known
