"""GET and POST /run/stream: the CLI's lines as events, the last of which says how the run has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import httpx2
import pytest

from stromboli.httpapi import sse
from stromboli.naming import AGENTS_API
from stromboli.reasons import Reason
from tests.support.builders import at
from tests.support.fake_api_server import Refusal, Reply, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster

HELLO = {"prompt": "say hello", "podman": {"image": "python:3.12"}}
OUTPUT = b'{"type":"system"}\n{"type":"assistant","text":"\xc3\xa4"}\n{"type":"result"}\n'


class Log:
    """The read API's answer for a run's only attempt: `content` up to what is `written`, in small pieces."""

    def __init__(self, cluster: HttpCluster, name: str, content: bytes = OUTPUT) -> None:
        self.content, self.written, self.state = content, len(content), "ended"
        self.asked: list[int] = []
        cluster.api.routes[f"{AGENTS_API}/namespaces/{NAMESPACE}/agentruns/{name}/log"] = self.answer

    def answer(self, request: Request) -> Reply:
        offset = int(request.query["offset"])
        self.asked.append(offset)
        headers = {"Stromboli-State": self.state, "Stromboli-Offset": str(offset), "Stromboli-Attempt": "1"}
        return Reply(pieces=self._pieces(offset), headers=headers)

    def _pieces(self, offset: int) -> Iterator[bytes]:
        data = self.content[offset : self.written]
        yield from (data[n : n + 7] for n in range(0, len(data), 7))


def with_attempt(run: dict[str, Any]) -> dict[str, Any]:
    """A modifier: the first attempt has begun."""
    attempt = {"number": 1, "container": "c", "bootID": "b"}
    return {**run, "status": {**(run.get("status") or {}), "attempts": [attempt]}}


async def events(answer: httpx2.Response) -> list[dict[str, str]]:
    """All events, each as its fields."""
    found: list[dict[str, str]] = [{}]
    async for line in answer.aiter_lines():
        if not line:
            found.append({})
        else:
            name, _, value = line.partition(":")
            found[-1][name] = value.removeprefix(" ")
    return [event for event in found if event]


def created(cluster: HttpCluster) -> str:
    [name] = [name for (plural, _, name) in cluster.api.objects if plural == "agentruns"]
    return name


async def nobody_watches(cluster: HttpCluster) -> None:
    """Wait until the watches of a call that has ended are closed, which the API server sees as it writes to them."""

    def none() -> bool:
        cluster.progress(created(cluster), at(Reason.Running))
        return cluster.api.watches == 0

    await cluster.until(none, "the call has ended")


async def test_the_lines_come_as_they_are_and_then_the_outcome(cluster: HttpCluster) -> None:
    async with cluster.http.stream("POST", "/run/stream", content=json.dumps(HELLO)) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        name = created(cluster)
        Log(cluster, name)
        cluster.progress(name, at(Reason.Running), with_attempt)
        cluster.progress(name, at(Reason.Completed), with_attempt)
        *lines, done = (await events(answer))[1:]
    assert [line["data"].encode() for line in lines] == OUTPUT.splitlines()
    ends = accumulate(len(line) + 1 for line in OUTPUT.splitlines())
    assert [line["id"] for line in lines] == [f"{name}/1/{end}" for end in ends]
    assert done["event"] == "done"
    assert (json.loads(done["data"])["id"], json.loads(done["data"])["status"]) == (name, "completed")


async def test_the_last_id_continues_the_run_and_creates_none(cluster: HttpCluster) -> None:
    cluster.run("there", at(Reason.Completed), with_attempt)
    log = Log(cluster, "there")
    headers = {"Last-Event-ID": "there/1/18"}
    async with cluster.http.stream("GET", "/run/stream?prompt=hi", headers=headers) as answer:
        begin, *lines, done = await events(answer)
    assert begin["id"] == "there/1/18"
    assert [line["data"].encode() for line in lines] == OUTPUT.splitlines()[1:]
    assert log.asked[0] == 18
    assert done["event"] == "done"
    assert created(cluster) == "there"


@pytest.mark.parametrize("last", ["there", "there/1", "there/1/x", "../x/1/2", "there/1/2/3", "gone/1/0"])
async def test_an_id_that_stands_for_nothing_is_refused(cluster: HttpCluster, last: str) -> None:
    answer = await cluster.http.get("/run/stream?prompt=hi", headers={"Last-Event-ID": last})
    assert answer.status_code == (404 if last.startswith("gone") else 400), answer.text
    assert not any(plural == "agentruns" for plural, _, _ in cluster.api.objects)


async def test_a_log_that_breaks_off_is_read_on_where_it_was(cluster: HttpCluster) -> None:
    cluster.run("there", at(Reason.Completed), with_attempt)
    log = Log(cluster, "there")
    log.written = 30  # in the middle of a line

    def again(request: Request) -> None:
        if request.path.endswith("/log") and log.asked == [0] and log.written == 30:
            log.written = len(OUTPUT)
            raise Refusal(503, "ServiceUnavailable", "the operator starts anew")

    cluster.api.before = again
    async with cluster.http.stream("GET", "/run/stream?prompt=hi", headers={"Last-Event-ID": "there/1/0"}) as answer:
        _, *lines, _ = await events(answer)
    assert [line["data"].encode() for line in lines] == OUTPUT.splitlines()
    assert 30 in log.asked


async def test_a_run_that_fails_ends_with_an_error(cluster: HttpCluster) -> None:
    async with cluster.http.stream("POST", "/run/stream", content=json.dumps(HELLO)) as answer:
        cluster.progress(created(cluster), at(Reason.ImageNotAllowed, "not this one"))
        error = (await events(answer))[-1]
    assert error["event"] == "error"
    assert "not this one" in json.loads(error["data"])["error"]


async def test_a_comment_comes_while_nothing_else_does(cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BEAT", 0.05)
    async with cluster.http.stream("POST", "/run/stream", content=json.dumps(HELLO)) as answer:
        read = answer.aiter_lines()
        while not (await anext(read)).startswith(":"):
            pass
        await read.aclose()  # type: ignore[attr-defined]


async def test_a_client_that_hangs_up_does_not_end_the_run(cluster: HttpCluster) -> None:
    async with cluster.http.stream("POST", "/run/stream", content=json.dumps(HELLO)) as answer:
        read = answer.aiter_lines()
        await anext(read)
        await cluster.until(lambda: cluster.api.watches == 1, "the run is watched")
    await nobody_watches(cluster)
    assert "cancel" not in cluster.api.objects["agentruns", NAMESPACE, created(cluster)]["spec"]


async def test_a_query_is_checked_as_a_body_is(cluster: HttpCluster) -> None:
    for query, field in (
        ("prompt=hi&resume=perhaps", "resume"),
        ("prompt=hi&max_turns=many", "max_turns"),
        ("prompt=hi&modle=x", "modle"),
        ("prompt=hi&prompt=ho", "prompt"),
        ("workdir=/x", "prompt"),
    ):
        answer = await cluster.http.get(f"/run/stream?{query}")
        assert (answer.status_code, answer.json()["details"]) == (400, {"field": field}), answer.text


async def test_other_sites_cannot_start_a_run_by_a_link(cluster: HttpCluster) -> None:
    answer = await cluster.http.get("/run/stream?prompt=hi", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert not cluster.api.objects
