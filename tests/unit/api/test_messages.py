"""The route of a session's messages: what it answers, and every error as a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2 as httpx
import pytest

from stromboli.api import line, messages
from stromboli.api.messages import Messages
from stromboli.errors import ClusterUnavailable, PodmanError, PodmanUnavailable
from stromboli.kube import objects
from stromboli.models.session import Session
from stromboli.node.conversations import Conversation, History
from stromboli.plan.conversation import Message
from stromboli.plan.history import Entry, Wanted
from tests.unit.api.served import ask, client_of

LIMIT = 20.0
UID = "22222222-2222-4222-8222-222222222222"
ID = "33333333-3333-4333-8333-333333333333"
SAID = (
    Message("user", "2026-11-25T06:44:27.270Z", "list it \ud800", False, ()),
    Message("assistant", None, "", True, ("Bash",)),
)


class Bed:
    """What stands behind the route; `failure` is what the next look or read raises."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {
            "mine": _session({"claudeSessionID": ID, "imageID": "abc"}),
            "unused": _session({}),
        }
        self.conversation: Conversation | None = Conversation(SAID, False)
        self.history: History | None = History((Entry({"uuid": "u1", "cwd": "\udc80"}),), 7, True)
        self.wanted: list[Wanted] = []
        self.looked: list[tuple[str, str]] = []
        self.was_read: list[tuple[str, str, str]] = []
        self.look_failure: Exception | None = None
        self.read_failure: Exception | None = None
        self.held: asyncio.Event | None = None
        self.reading = self.most_reading = 0
        self._changed = asyncio.Event()

    async def until(self, check: Callable[[], bool], what: str) -> None:
        """Wait until what is counted here fits."""
        try:
            async with asyncio.timeout(LIMIT):
                while not check():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"{what}: not after {LIMIT:.0f} s; {self.reading} are reading, {self.looked}")

    async def lookup(self, namespace: str, name: str) -> Session | None:
        self.looked.append((namespace, name))
        self._changed.set()
        if self.look_failure is not None:
            raise self.look_failure
        found = self.sessions.get(name)
        return None if found is None else objects.session(found)

    async def entries(self, uid: str, conversation: str, image: str, wanted: Wanted) -> History | None:
        self.wanted.append(wanted)
        await self.read(uid, conversation, image)
        return self.history

    async def read(self, uid: str, conversation: str, image: str) -> Conversation | None:
        self.was_read.append((uid, conversation, image))
        if self.read_failure is not None:
            raise self.read_failure
        self.reading += 1
        self.most_reading = max(self.reading, self.most_reading)
        self._changed.set()
        try:
            if self.held is not None:
                await self.held.wait()
        finally:
            self.reading -= 1
        return self.conversation


def _session(status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "mine", "namespace": "ns", "uid": UID}, "spec": {}, "status": status}


def path(name: str = "mine", namespace: str = "ns") -> str:
    return f"/apis/agents.stromboli.dev/v1alpha1/namespaces/{namespace}/agentsessions/{name}/messages"


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.fixture
async def client(bed: Bed) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(Messages(bed.lookup, bed)) as client:
        yield client


async def test_what_was_said(client: httpx.AsyncClient, bed: Bed) -> None:
    status, told = await ask(client, path())
    assert status == 200
    assert told == {
        "session": "mine",
        "conversation": ID,
        "truncated": False,
        "messages": [
            {
                "role": "user",
                "time": "2026-11-25T06:44:27.270Z",
                "text": "list it ?",
                "truncated": False,
                "tools": [],
            },
            {"role": "assistant", "time": None, "text": "", "truncated": True, "tools": ["Bash"]},
        ],
    }
    assert bed.was_read == [(UID, ID, "abc")]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", Wanted(0, 200)),
        ("&offset=3", Wanted(3, 200)),
        ("&limit=5&offset=0", Wanted(0, 5)),
        ("&uuid=u1", Wanted(uuid="u1")),
    ],
)
async def test_a_part_of_all_that_was_recorded(client: httpx.AsyncClient, bed: Bed, query: str, wanted: Wanted) -> None:
    status, told = await ask(client, f"{path()}?full=true{query}")
    assert (status, told) == (
        200,
        {
            "session": "mine",
            "conversation": ID,
            "truncated": True,
            "total": 7,
            "entries": [{"uuid": "u1", "cwd": "?"}],
        },
    )
    assert (bed.wanted, bed.was_read) == ([wanted], [(UID, ID, "abc")])
    bed.history = None
    status, told = await ask(client, f"{path()}?full=true{query}")
    assert (status, "no conversation on this node" in told["message"]) == (404, True)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("full=yes", "full"),
        ("offset=1", "offset"),
        ("full=false&uuid=u", "uuid"),
        ("full=true&offset=-1", "offset"),
        ("full=true&limit=0", "limit"),
        ("full=true&limit=201", "limit"),
        ("full=true&limit=٣", "limit"),
        ("full=true&offset=99999999999", "offset"),
        ("full=true&uuid=", "uuid"),
        (f"full=true&uuid={'u' * 65}", "uuid"),
        ("full=true&uuid=u&limit=1", "uuid"),
    ],
)
async def test_a_parameter_that_is_wrong(client: httpx.AsyncClient, bed: Bed, query: str, name: str) -> None:
    status, told = await ask(client, f"{path()}?{query}")
    assert (status, f"`{name}`" in told["message"], bed.looked) == (400, True, [])


@pytest.mark.parametrize(
    ("name", "word"), [("none", "the namespace ns has no AgentSession none"), ("unused", "its first run starts one")]
)
async def test_what_is_not_there(client: httpx.AsyncClient, bed: Bed, name: str, word: str) -> None:
    status, told = await ask(client, path(name))
    assert (status, word in told["message"]) == (404, True)
    assert bed.was_read == []


async def test_a_session_without_a_conversation(client: httpx.AsyncClient, bed: Bed) -> None:
    bed.conversation = None
    status, told = await ask(client, path())
    assert (status, "no conversation on this node" in told["message"]) == (404, True)


@pytest.mark.parametrize("id_", ["", "../../etc/passwd", ID.replace("-", ""), f"{{{ID}}}", f"{ID}\n", 7, None, ["x"]])
async def test_what_is_no_conversation_s_id_is_not_looked_for(client: httpx.AsyncClient, bed: Bed, id_: object) -> None:
    bed.sessions["mine"]["status"]["claudeSessionID"] = id_
    assert (await ask(client, path()))[0] == 404
    assert bed.was_read == []


@pytest.mark.parametrize(
    "where",
    [
        path("..%2f..%2fsecrets%2fx"),
        path("a%2fb"),
        path("%2e%2e"),
        path("MINE"),
        path("a%00b"),
        path("x" * 254),
        path("a%0a"),
        path("mine", "a%2fb"),
        path("mine", "n" * 64),
        path("mine", "a.b"),
    ],
)
async def test_names_that_no_object_has_go_nowhere(client: httpx.AsyncClient, bed: Bed, where: str) -> None:
    assert (await ask(client, where))[0] == 404
    assert bed.looked == []


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [("GET", "/", 404), ("GET", "/apis", 404), ("POST", path(), 405), ("DELETE", path(), 405)],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, method: str, where: str, status: int) -> None:
    answered, told = await ask(client, where, method)
    assert (answered, "is not served here" in told["message"]) == (status, True)


@pytest.mark.parametrize(
    ("behind", "failure"),
    [
        ("look_failure", ClusterUnavailable("the API server: connection refused")),
        ("read_failure", PodmanUnavailable("Podman did not answer")),
        ("read_failure", PodmanError("Podman refused GET", 500)),
    ],
)
async def test_what_is_away_is_said_to_be(client: httpx.AsyncClient, bed: Bed, behind: str, failure: Exception) -> None:
    setattr(bed, behind, failure)
    status, told = await ask(client, path())
    assert (status, told["message"]) == (503, str(failure))


async def test_a_read_that_takes_too_long_is_given_up(
    client: httpx.AsyncClient, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "READ_SECONDS", 0.05)
    bed.held = asyncio.Event()
    status, told = await ask(client, path())
    assert (status, "try again" in told["message"], bed.reading) == (503, True, 0)


async def test_only_so_many_are_read_at_once(client: httpx.AsyncClient, bed: Bed) -> None:
    bed.held = asyncio.Event()
    asked = [asyncio.create_task(ask(client, path())) for _ in range(messages.AT_ONCE + 2)]
    await bed.until(lambda: bed.reading >= messages.AT_ONCE and len(bed.looked) == len(asked), "all have asked")
    bed.held.set()
    answers = await asyncio.wait_for(asyncio.gather(*asked), LIMIT)
    assert {status for status, _ in answers} == {200}
    assert bed.most_reading == messages.AT_ONCE


async def test_so_many_wait_and_no_more(client: httpx.AsyncClient, bed: Bed) -> None:
    bed.held = asyncio.Event()
    most = messages.AT_ONCE + line.WAITING
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(client, path())) for _ in range(most)]
        await bed.until(lambda: len(bed.looked) == most, "all ask")
        status, told = await ask(client, path())
        assert (status, told["message"]) == (503, "8 others wait for their turn on this node already; try again")
        bed.held.set()
    assert [task.result()[0] for task in asked] == [200] * most
