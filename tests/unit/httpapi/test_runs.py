"""POST /run and /run/async: the run that they create, once, and what is answered of its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from stromboli.httpapi.running import following
from stromboli.reasons import Reason
from tests.support.builders import at
from tests.support.fake_api_server import FakeApiServer, Refusal, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster, http_cluster

Object = dict[str, Any]
HELLO = {"prompt": "say hello", "podman": {"image": "python:3.12"}}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` sends


def runs(cluster: HttpCluster) -> list[Object]:
    return [obj for (plural, _, _), obj in cluster.api.objects.items() if plural == "agentruns"]


def sessions(cluster: HttpCluster) -> list[str]:
    return [name for (plural, _, name) in cluster.api.objects if plural == "agentsessions"]


async def nobody_watches(cluster: HttpCluster) -> None:
    """Wait until the watches of a call that has ended are closed, which the API server sees as it writes to them."""

    def none() -> bool:
        cluster.progress(runs(cluster)[0]["metadata"]["name"], at(Reason.Running))
        return cluster.api.watches == 0

    await cluster.until(none, "the call has ended")


def with_attempt(run: Object) -> Object:
    """A modifier: the first attempt has begun."""
    attempt = {"number": 1, "container": "c", "bootID": "b"}
    return {**run, "status": {**run["status"], "attempts": [attempt]}}


@asynccontextmanager
async def waiting(
    cluster: HttpCluster, body: Object | None = None, path: str = "/run", **headers: str
) -> AsyncIterator[tuple[asyncio.Task[httpx2.Response], str]]:
    """A call that waits for its run, which exists by now, and that run's name."""
    content = json.dumps(body or HELLO)
    call = asyncio.ensure_future(cluster.http.post(path, content=content, headers={**FORM, **headers}))
    await cluster.until(lambda: runs(cluster) or call.done(), "the run is created")
    assert runs(cluster), call.result().text
    try:
        yield call, runs(cluster)[-1]["metadata"]["name"]
    finally:
        call.cancel()
        await asyncio.wait({call})


async def test_a_call_answers_what_its_run_has_come_to(cluster: HttpCluster) -> None:
    async with waiting(cluster) as (call, name):
        cluster.progress(name, at(Reason.Running))
        cluster.progress(name, at(Reason.Completed))
        answer = await call
    assert answer.status_code == 200
    assert answer.json()["id"] == name
    assert answer.json()["status"] == "completed"
    assert runs(cluster)[0]["spec"]["session"]["name"] == answer.json()["session_id"]
    assert runs(cluster)[0]["spec"]["image"] == "python:3.12"


async def test_a_run_that_was_refused_is_a_bad_request(cluster: HttpCluster) -> None:
    async with waiting(cluster) as (call, name):
        cluster.progress(name, at(Reason.ImageNotAllowed, "python:3.12 is not allowed"))
        answer = await call
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert answer.json()["reason"] == "ImageNotAllowed"
    assert "python:3.12 is not allowed" in answer.json()["error"]


async def test_an_asynchronous_call_answers_at_once(cluster: HttpCluster) -> None:
    answer = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "webhook_url": "https://a.example/"}))
    [run] = runs(cluster)
    assert answer.status_code == 202
    assert answer.json() == {"job_id": run["metadata"]["name"], "session_id": run["spec"]["session"]["name"]}
    assert run["spec"]["notify"]["url"] == "https://a.example/"


async def test_a_client_that_hangs_up_ends_nothing(cluster: HttpCluster) -> None:
    async with waiting(cluster):
        await cluster.until(lambda: cluster.api.watches == 1, "the call watches its run")
    await nobody_watches(cluster)
    assert "cancel" not in runs(cluster)[0]["spec"]


async def test_a_client_that_hangs_up_cancels_if_it_has_asked_for_that(cluster: HttpCluster) -> None:
    async with waiting(cluster, path="/run?cancel_on_disconnect=true"):
        pass
    await cluster.until(lambda: runs(cluster)[0]["spec"].get("cancel"), "the run is canceled")


async def test_a_run_that_is_deleted_ends_the_call(cluster: HttpCluster) -> None:
    async with waiting(cluster) as (call, name):
        cluster.api.remove(name, NAMESPACE)
        answer = await call
    assert (answer.status_code, answer.json()["details"]) == (404, {"job_id": name})


async def test_a_call_outlives_its_connections_to_the_api_server(cluster: HttpCluster) -> None:
    async with waiting(cluster) as (call, name):
        await cluster.until(lambda: cluster.api.watches == 1, "the call watches its run")
        cluster.api.drop()
        await cluster.until(lambda: cluster.api.watches == 0, "the watch has broken off")
        cluster.progress(name, at(Reason.Completed))
        assert (await call).status_code == 200


@pytest.mark.parametrize(
    ("missing", "status"),
    [
        (Reason.PodmanUnavailable, 503),
        (Reason.NodeOutOfDisk, 503),
        (Reason.CLIImageUnavailable, 503),
        (Reason.RegistryUnavailable, 502),
        (Reason.WaitingForReference, 400),
    ],
)
async def test_a_call_does_not_wait_long_for_what_is_missing_before_the_prompt(
    cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch, missing: Reason, status: int
) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.2)
    async with waiting(cluster) as (call, name):
        cluster.progress(name, at(missing, "it is not there"))
        await cluster.until(lambda: runs(cluster)[0]["spec"].get("cancel"), "the run is canceled")
        assert not call.done()
        cluster.progress(name, at(Reason.Canceled))
        answer = await call
    assert (answer.status_code, answer.json()["reason"]) == (status, missing.name)
    assert "safe to try again" in answer.json()["error"]


async def test_an_attempt_that_has_begun_is_waited_for(cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    async with waiting(cluster) as (call, name):
        cluster.progress(name, at(Reason.PodmanUnavailable), with_attempt)
        cluster.progress(name, at(Reason.Running), with_attempt)
        cluster.progress(name, at(Reason.Completed), with_attempt)
        assert (await call).status_code == 200
    assert "cancel" not in runs(cluster)[0]["spec"]


# --- once ---


async def test_a_key_finds_the_run_of_the_first_request(cluster: HttpCluster) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await cluster.http.post("/run/async", content=json.dumps(HELLO), headers=key)
    again = await cluster.http.post("/run/async", content=json.dumps(HELLO), headers=key)
    assert first.json() == again.json()
    assert len(runs(cluster)) == 1
    other = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "prompt": "other"}), headers=key)
    assert (other.status_code, other.json()["reason"]) == (409, "IdempotencyKeyReused")
    assert "use a new key" in other.json()["error"]


async def test_a_key_is_its_users_own_and_its_namespaces(cluster: HttpCluster) -> None:
    for headers in ({"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}, {"X-Stromboli-Namespace": "other"}):
        await cluster.http.post("/run/async", content=json.dumps(HELLO), headers={"Idempotency-Key": "k", **headers})
    assert len(runs(cluster)) == 3


async def test_requests_of_one_key_at_the_same_time_have_one_run(cluster: HttpCluster) -> None:
    body = json.dumps({**HELLO, "claude": {"session_id": "mine"}})
    calls = [cluster.http.post("/run/async", content=body, headers={"Idempotency-Key": "k"}) for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    assert len(runs(cluster)) == 1


async def test_a_creation_whose_answer_is_lost_is_not_repeated_under_another_name(cluster: HttpCluster) -> None:
    """The API server creates the run, and its answer breaks off: nobody may be told to try again."""
    lost: list[Object] = []

    def breaks_off(event: str, obj: Object) -> None:
        if event == "ADDED" and obj["kind"] == "AgentRun" and not lost:
            lost.append(obj)
            raise ConnectionAbortedError

    cluster.api.changed = breaks_off
    answer = await cluster.http.post("/run/async", content=json.dumps(HELLO))
    assert lost
    assert answer.status_code == 202
    assert [run["metadata"]["name"] for run in runs(cluster)] == [answer.json()["job_id"]]


@pytest.mark.parametrize(("method", "path"), [("POST", "/run"), ("POST", "/run/async"), ("GET", "/run/stream")])
async def test_for_a_client_that_has_hung_up_no_creation_is_repeated(
    cluster: HttpCluster, method: str, path: str
) -> None:
    tried: list[Request] = []

    def breaks_off(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("agentruns"):
            tried.append(request)
            raise ConnectionResetError

    cluster.api.before = breaks_off
    query = {"prompt": "say hello", "image": "python:3.12"} if method == "GET" else None
    content = None if method == "GET" else json.dumps(HELLO)
    call = asyncio.ensure_future(cluster.http.request(method, path, params=query, content=content))
    await cluster.until(lambda: len(tried) > 1, "the creation is repeated")
    call.cancel()
    await asyncio.wait({call})
    name = tried[0].body["metadata"]["name"]
    await cluster.until(lambda: cluster.api.named("GET", f"/agentruns/{name}"), "it is found out that there is none")
    assert {request.body["metadata"]["name"] for request in tried} == {name}
    assert runs(cluster) == []


async def test_a_session_whose_creation_is_not_answered_belongs_to_the_call_all_the_same(cluster: HttpCluster) -> None:
    """Or a client that repeats its request, as it does after a 5xx, would never get past its own session."""
    lost: list[Object] = []

    def breaks_off(event: str, obj: Object) -> None:
        if event == "ADDED" and obj["kind"] == "AgentSession" and not lost:
            lost.append(obj)
            raise ConnectionResetError

    cluster.api.changed = breaks_off
    answer = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "claude": {"session_id": "mine"}}))
    assert lost
    assert (answer.status_code, answer.json()["session_id"]) == (202, "mine")
    assert (len(runs(cluster)), sessions(cluster)) == (1, ["mine"])


async def test_an_api_server_that_cannot_create_runs_is_said_to_be_away(cluster: HttpCluster) -> None:
    def away(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("agentruns"):
            raise Refusal(500, "InternalError", "etcd has no leader")

    cluster.api.before = away
    answer = await cluster.http.post("/run/async", content=json.dumps(HELLO))
    assert (answer.status_code, answer.json()["error"]) == (503, "etcd has no leader")


async def test_without_an_api_server_there_is_an_answer_at_once(unused_tcp_port: int) -> None:
    nobody = FakeApiServer()
    nobody.url = f"http://127.0.0.1:{unused_tcp_port}"
    async with http_cluster(api=nobody) as cluster:
        for path in ("/run", "/run/async", "/run/stream"):
            answer = await cluster.http.post(path, content=json.dumps(HELLO))
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["error"]


async def test_who_may_begin_sessions_but_no_runs_is_told_so(cluster: HttpCluster) -> None:
    def refuse(request: Request) -> None:
        if request.path.endswith("/agentruns"):
            raise Refusal(403, "Forbidden", "local cannot create agentruns")
        if request.path.endswith("/agentsessions/mine"):
            raise Refusal(403, "Forbidden", "local cannot get agentsessions")

    cluster.api.before = refuse
    body = {**HELLO, "claude": {"session_id": "mine"}}
    answer = await cluster.http.post("/run", content=json.dumps(body))
    assert (answer.status_code, answer.json()["error"]) == (403, "local cannot create agentruns")


@pytest.mark.parametrize(("path", "details"), [("/run", {"id", "session_id"}), ("/images/pull", set[str]())])
async def test_a_gateway_that_stops_tells_nobody_to_ask_again(
    cluster: HttpCluster, path: str, details: set[str]
) -> None:
    """Clients repeat what was answered with a 5xx, and what a call has begun goes on."""
    body = {"image": "python:3.12"} if path == "/images/pull" else HELLO
    call = asyncio.ensure_future(cluster.http.post(path, content=json.dumps(body)))
    await cluster.until(lambda: cluster.api.watches, "it waits")
    cluster.serving.cancel()
    answer = await call
    assert (answer.status_code, answer.json()["reason"]) == (408, "GatewayStopped")
    assert answer.json()["details"].keys() == details


# --- sessions ---


async def test_a_session_that_exists_is_continued_with_resume_only(cluster: HttpCluster) -> None:
    cluster.session("work")
    refused = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "claude": {"session_id": "work"}}))
    assert (refused.status_code, refused.json()["details"]) == (409, {"session_id": "work"})
    body = {**HELLO, "claude": {"session_id": "work", "resume": True}}
    assert (await cluster.http.post("/run/async", content=json.dumps(body))).json()["session_id"] == "work"


async def test_a_session_to_resume_has_to_exist(cluster: HttpCluster) -> None:
    for claude in ({"session_id": "gone", "resume": True}, {"session_id": "gone", "fork_session": True}):
        answer = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "claude": claude}))
        assert (answer.status_code, answer.json()["details"]) == (404, {"session_id": "gone"})
    assert runs(cluster) == []


async def test_of_two_calls_only_one_can_begin_a_session(cluster: HttpCluster) -> None:
    body = json.dumps({**HELLO, "claude": {"session_id": "mine"}})
    answers = await asyncio.gather(*(cluster.http.post("/run/async", content=body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert len(runs(cluster)) == 1


async def test_a_fork_has_an_id_of_its_own(cluster: HttpCluster) -> None:
    cluster.session("work")
    body = {**HELLO, "claude": {"session_id": "work", "resume": True, "fork_session": True}}
    answer = await cluster.http.post("/run/async", content=json.dumps(body))
    session = runs(cluster)[0]["spec"]["session"]
    assert session == {"name": answer.json()["session_id"], "fork": "work"}
    assert session["name"] != "work"


async def test_continue_finds_the_session_that_was_used_last(cluster: HttpCluster) -> None:
    body = json.dumps({**HELLO, "claude": {"continue": True}})
    answer = await cluster.http.post("/run/async", content=body)
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": "claude.continue"})
    cluster.session("old", lastUsed="2026-01-01T00:00:00Z")
    cluster.session("new", lastUsed="2026-02-01T00:00:00Z")
    assert (await cluster.http.post("/run/async", content=body)).json()["session_id"] == "new"


async def test_without_persistence_there_is_no_session(cluster: HttpCluster) -> None:
    body = json.dumps({**HELLO, "claude": {"no_persistence": True}})
    answer = await cluster.http.post("/run/async", content=body)
    assert "session_id" not in answer.json()
    assert "session" not in runs(cluster)[0]["spec"]


async def test_a_request_that_is_refused_makes_no_session(cluster: HttpCluster) -> None:
    """Or the same request, once it is corrected, would find the session in its way."""
    body = {**HELLO, "claude": {"session_id": "mine"}, "podman": {"memory": "much"}}
    answer = await cluster.http.post("/run/async", content=json.dumps(body))
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": "podman.memory"})
    assert sessions(cluster) == []


async def test_a_run_that_is_refused_leaves_no_session(cluster: HttpCluster) -> None:
    def forbids(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("agentruns"):
            raise Refusal(403, "Forbidden", "agentruns is forbidden")

    cluster.api.before = forbids
    answer = await cluster.http.post("/run/async", content=json.dumps({**HELLO, "claude": {"session_id": "mine"}}))
    assert (answer.status_code, answer.json()["error"]) == (403, "agentruns is forbidden")
    assert sessions(cluster) == []


# --- who may ---


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8080"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:8080"}, 202),
        ({"Host": "127.0.0.2"}, 202),
        ({"Host": "[::1]:8080"}, 202),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Authorization": "Basic YTpi"}, 401),
        ({"Authorization": "Bearer a b"}, 401),
        ({"Origin": "https://app.example", "Authorization": "Bearer a"}, 202),
        ({"X-Stromboli-Namespace": "../x"}, 400),
    ],
)
async def test_calls_without_a_token_are_this_machines_own(
    cluster: HttpCluster, headers: dict[str, str], status: int
) -> None:
    answer = await cluster.http.post("/run/async", content=json.dumps(HELLO), headers=headers)
    assert answer.status_code == status, answer.text
    assert (len(runs(cluster)) == 1) == (status == 202)


async def test_elsewhere_each_call_needs_a_token() -> None:
    async with http_cluster(local=False) as cluster:
        answer = await cluster.http.post("/run/async", content=json.dumps(HELLO))
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        cluster.api.users = {"good": "somebody"}
        for token, status in (("good", 202), ("bad", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            answer = await cluster.http.post("/run/async", content=json.dumps(HELLO), headers=headers)
            assert answer.status_code == status, answer.text
