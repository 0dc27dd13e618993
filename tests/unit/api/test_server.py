"""The read API over real TLS: who gets what, and every error as a sentence."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from stromboli.api import address, issue, messages
from stromboli.api.tokens import serving
from stromboli.errors import ClusterUnavailable, InvalidSettings, PodmanError, PodmanUnavailable
from stromboli.kube import objects
from stromboli.models.session import Session
from stromboli.node.conversations import Conversation
from stromboli.plan.conversation import Message
from tests.support.fake_discovery import FakeDiscovery
from tests.support.fake_reviews import FakeReviews

LIMIT = 20.0
CERTIFICATE = issue.make(["127.0.0.1", "::1", "localhost"], datetime.now(UTC))
UID = "22222222-2222-4222-8222-222222222222"
ID = "33333333-3333-4333-8333-333333333333"
SAID = (
    Message("user", "2026-11-25T06:44:27.270Z", "list it \ud800", False, ()),
    Message("assistant", None, "", True, ("Bash",)),
)


class Bed:
    """One server with what stands behind it; `failure` is what the next look or read raises."""

    def __init__(self) -> None:
        self.reviews = FakeReviews()
        self.sessions: dict[str, dict[str, Any]] = {
            "mine": _session({"claudeSessionID": ID, "imageID": "abc"}),
            "unused": _session({}),
        }
        self.conversation: Conversation | None = Conversation(SAID, False)
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

    def parts(self, home: Path) -> dict[str, Any]:
        """What the server is made of."""
        mine = {"reviews": self.reviews, "lookup": self.lookup, "read": self.read, "discovery": FakeDiscovery()}
        return {**mine, "home": home, "certificate": CERTIFICATE}

    async def lookup(self, namespace: str, name: str) -> Session | None:
        self.looked.append((namespace, name))
        self._changed.set()
        if self.look_failure is not None:
            raise self.look_failure
        found = self.sessions.get(name)
        return None if found is None else objects.session(found)

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
    return f"/apis/stromboli.dev/v1alpha1/namespaces/{namespace}/agentsessions/{name}/messages"


def client_of(home: Path) -> httpx.AsyncClient:
    found = address.read(home)
    context = ssl.create_default_context(cadata=found.authority)
    return httpx.AsyncClient(base_url=found.url, verify=context, trust_env=False, timeout=LIMIT)


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.fixture
async def client(bed: Bed, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(**bed.parts(tmp_path)),
        client_of(tmp_path) as client,
    ):
        yield client


async def ask(
    client: httpx.AsyncClient, who: str | None = "alice", where: str = path(), method: str = "GET"
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {who}"} if who is not None else {}
    response = await client.request(method, where, headers=headers)
    assert response.headers["Content-Type"].startswith("application/json")
    return response.status_code, response.json()


async def test_what_was_said(client: httpx.AsyncClient, bed: Bed) -> None:
    status, told = await ask(client)
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
    ("who", "where", "status", "word"),
    [
        (None, path(), 401, "Authorization: Bearer"),
        ("mallory", path(), 401, "does not accept this token"),
        ("bob", path(), 403, "bob may not get agentsessions/messages"),
        ("alice", path("hers"), 403, "for hers in ns"),
        ("alice", path(namespace="other"), 403, "for mine in other"),
    ],
)
async def test_who_may_not_learns_nothing(
    client: httpx.AsyncClient, bed: Bed, who: str | None, where: str, status: int, word: str
) -> None:
    answered, told = await ask(client, who, where)
    assert (answered, set(told) - {"reason"}) == (status, {"error"})
    assert word in told["error"]
    assert (bed.looked, bed.was_read) == ([], [])


async def test_a_401_says_how(client: httpx.AsyncClient) -> None:
    assert (await client.get(path())).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("name", "word"), [("none", "the namespace ns has no AgentSession none"), ("unused", "its first run starts one")]
)
async def test_what_is_not_there(client: httpx.AsyncClient, bed: Bed, name: str, word: str) -> None:
    status, told = await ask(client, where=path(name))
    assert (status, word in told["error"]) == (404, True)
    assert bed.was_read == []


async def test_a_session_without_a_conversation(client: httpx.AsyncClient, bed: Bed) -> None:
    bed.conversation = None
    status, told = await ask(client)
    assert (status, "no conversation on this node" in told["error"]) == (404, True)


@pytest.mark.parametrize("id_", ["", "../../etc/passwd", ID.replace("-", ""), f"{{{ID}}}", f"{ID}\n", 7, None, ["x"]])
async def test_what_is_no_conversation_s_id_is_not_looked_for(client: httpx.AsyncClient, bed: Bed, id_: object) -> None:
    bed.sessions["mine"]["status"]["claudeSessionID"] = id_
    assert (await ask(client))[0] == 404
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
    assert (await ask(client, where=where))[0] == 404
    assert (bed.looked, bed.reviews.asked) == ([], [])


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [("GET", "/", 404), ("GET", "/apis", 404), ("POST", path(), 405), ("DELETE", path(), 405)],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, method: str, where: str, status: int) -> None:
    answered, told = await ask(client, where=where, method=method)
    assert (answered, "is not served here" in told["error"]) == (status, True)


@pytest.mark.parametrize(
    ("behind", "failure"),
    [
        ("reviews", None),
        ("look_failure", ClusterUnavailable("the API server: connection refused")),
        ("read_failure", PodmanUnavailable("Podman did not answer")),
        ("read_failure", PodmanError("Podman refused GET", 500)),
    ],
)
async def test_what_is_away_is_said_to_be(
    client: httpx.AsyncClient, bed: Bed, behind: str, failure: Exception | None
) -> None:
    if failure is None:
        bed.reviews.away = True
    else:
        setattr(bed, behind, failure)
    status, told = await ask(client)
    assert (status, told["error"]) == (503, str(failure or "the API server: connection refused"))


async def test_a_read_that_takes_too_long_is_given_up(
    client: httpx.AsyncClient, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "READ_SECONDS", 0.05)
    bed.held = asyncio.Event()
    status, told = await ask(client)
    assert (status, "try again" in told["error"], bed.reading) == (503, True, 0)


async def test_only_so_many_are_read_at_once(client: httpx.AsyncClient, bed: Bed) -> None:
    bed.held = asyncio.Event()
    asked = [asyncio.create_task(ask(client)) for _ in range(messages.AT_ONCE + 2)]
    await bed.until(lambda: bed.reading >= messages.AT_ONCE and len(bed.looked) == len(asked), "all have asked")
    bed.held.set()
    answers = await asyncio.wait_for(asyncio.gather(*asked), LIMIT)
    assert {status for status, _ in answers} == {200}
    assert bed.most_reading == messages.AT_ONCE


async def test_the_home_says_where_it_is_while_it_is(bed: Bed, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text("left by one that was killed")
    async with serving(**bed.parts(tmp_path)) as url:
        file = tmp_path / "api.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        told = json.loads(file.read_text())
        assert (told["url"], told["url"].startswith("https://127.0.0.1:")) == (url, True)
        assert "PRIVATE" not in file.read_text()
        assert [p.name for p in tmp_path.iterdir()] == ["api.json"]
    assert list(tmp_path.iterdir()) == []


async def test_a_home_that_cannot_be_written_keeps_it_from_nothing(
    bed: Bed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone"
    async with serving(**bed.parts(gone)) as url:
        assert url in caplog.text
        async with httpx.AsyncClient(base_url=url, verify=False) as client:
            assert (await client.get(path())).status_code == 401


async def test_whoever_does_not_trust_the_certificate_sends_nothing(client: httpx.AsyncClient, bed: Bed) -> None:
    async with httpx.AsyncClient(base_url=str(client.base_url), trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(path(), headers={"Authorization": "Bearer alice"})
    assert bed.reviews.asked == []


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")])
async def test_it_is_reached_under_the_name_in_the_file(bed: Bed, tmp_path: Path, host: str, reached: str) -> None:
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serving(**bed.parts(tmp_path), host=host) as url:
        assert url.startswith(f"https://{reached}:")
        async with client_of(tmp_path) as client:
            assert (await ask(client))[0] == 200


async def test_an_address_that_is_taken_stops_the_start(bed: Bed, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match=rf"STROMBOLI_API_ADDRESS: cannot listen on 127\.0\.0\.1:{port}"):
            async with serving(**bed.parts(tmp_path), port=port):
                pytest.fail("it started")
    assert not (tmp_path / "api.json").exists()


async def test_the_end_does_not_wait_for_a_reader(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.api.tokens._SHUTDOWN_SECONDS", 0.05)
    bed.held = asyncio.Event()
    async with asyncio.timeout(LIMIT), AsyncExitStack() as clients:
        async with serving(**bed.parts(tmp_path)):
            client = await clients.enter_async_context(client_of(tmp_path))
            asked = asyncio.create_task(ask(client))
            await bed.until(lambda: bed.reading == 1, "one reads")
        with pytest.raises(httpx.HTTPError):
            await asked


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
