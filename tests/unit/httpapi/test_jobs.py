"""GET /jobs, GET and DELETE /jobs/{id}."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from stromboli import bounds, naming
from stromboli.httpapi import listing
from stromboli.httpapi.calls import jobs
from stromboli.reasons import Reason
from tests.support.builders import Modifier, Object, at
from tests.support.fake_api_server import Refusal, Reply, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster


def created(minute: int) -> Modifier:
    stamp = f"2026-01-31T12:{minute:02}:00Z"
    return lambda obj: {**obj, "metadata": obj["metadata"] | {"creationTimestamp": stamp}}


def with_status(**fields: Any) -> Modifier:
    return lambda obj: {**obj, "status": obj["status"] | fields}


def exited(code: int) -> Modifier:
    return with_status(attempts=[{"number": 1, "container": "c", "exitCode": code}])


def ids(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


async def test_a_job_is_a_run_in_stromboli_s_words(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("asked", session={"name": "talk"})
    assert (await client.get("/jobs/asked")).json() == {
        "id": "asked",
        "status": "pending",
        "session_id": "talk",
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z",
    }
    cluster.progress("asked", at(Reason.Running))
    assert (await client.get("/jobs/asked")).json()["status"] == "running"
    result = {"text": "hi ✓"}
    cluster.progress("asked", at(Reason.Completed), with_status(result=result, lastOutputTime="2026-01-31T12:30:00.5Z"))
    answer = (await client.get("/jobs/asked")).json()
    assert (answer["status"], answer["output"], answer["updated_at"]) == ("completed", "hi ✓", "2026-01-31T12:30:00Z")
    assert not {"error", "crash_info"} & set(answer)


async def test_a_crash_has_its_signal(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("killed", at(Reason.AgentFailed, "the agent was killed"), exited(137))
    answer = (await client.get("/jobs/killed")).json()
    assert (answer["status"], answer["error"]) == ("crashed", "the agent was killed")
    assert answer["crash_info"]["exit_code"] == 137
    assert answer["crash_info"]["signal"] == "SIGKILL"
    assert answer["crash_info"]["reason"] == "AgentFailed"


RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"all of it"}\n'


@pytest.mark.parametrize(
    ("form", "output"), [("", "all of it"), ("json", RESULT.decode().strip()), ("stream-json", RESULT.decode())]
)
async def test_what_the_agent_said_is_whole_and_in_the_form_that_was_asked_for(
    form: str, output: str, cluster: HttpCluster, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"prompt": "x", "podman": {"image": "i"}, "claude": {"output_format": form}}
    name = (await client.post("/run/async", json=asked)).json()["job_id"]
    cluster.progress(name, at(Reason.Completed), exited(0), with_status(result={"text": "all", "truncated": True}))
    state = {"Stromboli-Attempt": "1", "Stromboli-Offset": "0", "Stromboli-State": "ended"}

    def log(request: Request) -> Reply:
        return Reply(body=RESULT[int(request.query.get("offset", 0)) :], headers=state)

    def away(request: Request) -> Reply:
        raise Refusal(503, "ServiceUnavailable", "the node is away")

    path = f"{naming.AGENTS_API}/namespaces/{NAMESPACE}/agentruns/{name}/log"
    cluster.api.routes[path] = log
    assert (await client.get(f"/jobs/{name}")).json()["output"] == output
    assert (await client.get("/jobs")).json()["jobs"][0]["output"] == "all"
    cluster.api.routes[path] = away
    monkeypatch.setattr(jobs, "READ", 0.2)
    assert (await client.get(f"/jobs/{name}")).json()["output"] == "all"


@pytest.mark.parametrize("name", ["nothing", "No_Name", "a%2Fb", "x" * 300])
async def test_an_unknown_job(name: str, client: httpx2.AsyncClient) -> None:
    for answer in (await client.get(f"/jobs/{name}"), await client.delete(f"/jobs/{name}")):
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
        assert set(answer.json()) == {"status", "error", "reason", "details"}


async def test_a_list_begins_with_the_newest(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/jobs")).json() == {"jobs": [], "limit": 100, "offset": 0, "has_more": False}
    for minute, name in enumerate(("b", "a", "e", "d", "c")):
        cluster.run(name, created(minute))
    cluster.api.add("agentruns", {"metadata": {"name": "z", "namespace": "other"}, "spec": {}})
    assert ids(await client.get("/jobs")) == ["c", "d", "e", "a", "b"]
    answer = await client.get("/jobs", params={"limit": 2, "offset": 1})
    assert ids(answer) == ["d", "e"]
    assert (answer.json()["limit"], answer.json()["offset"], answer.json()["has_more"]) == (2, 1, True)
    answer = await client.get("/jobs", params={"limit": 2, "offset": 3})
    assert (ids(answer), answer.json()["has_more"]) == (["a", "b"], False)
    assert ids(await client.get("/jobs", params={"offset": 5})) == []
    answer = await client.get("/jobs", params={"limit": 100000})
    assert answer.json()["limit"] == 200


async def test_a_list_of_many_pages(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    for number in range(listing.PAGE + 5):
        cluster.run(f"r-{number:03}", created(number % 60))
    assert len(ids(await client.get("/jobs", params={"limit": 200}))) == listing.PAGE + 5


async def test_filters(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("waiting", created(1))
    cluster.run("working", created(2), at(Reason.Running))
    cluster.run("done", created(3), at(Reason.Completed), session={"name": "talk"})
    cluster.run("stopped", created(4), at(Reason.Canceled))
    cluster.run("failed", created(5), at(Reason.AgentFailed), exited(1))
    cluster.run("killed", created(6), at(Reason.AgentFailed), exited(139))
    cluster.run("lost", created(7), at(Reason.ContainerLost))
    cluster.run("refused", created(8), at(Reason.InvalidSpec))
    expected = {
        "pending": ["waiting"],
        "running": ["working"],
        "completed": ["done"],
        "cancelled": ["stopped"],
        "failed": ["refused", "failed"],
        "crashed": ["lost", "killed"],
    }
    for status, names in expected.items():
        assert ids(await client.get("/jobs", params={"status": status})) == names
    answer = await client.get("/jobs", params={"status": "failed", "limit": 1})
    assert (ids(answer), answer.json()["has_more"]) == (["refused"], True)
    answer = await client.get("/jobs", params={"status": "failed", "limit": 1, "offset": 1})
    assert (ids(answer), answer.json()["has_more"]) == (["failed"], False)
    assert ids(await client.get("/jobs", params={"session_id": "talk"})) == ["done"]
    assert ids(await client.get("/jobs", params={"session_id": "talk", "status": "running"})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "over"),
        ("limit", "0"),
        ("limit", "x"),
        ("offset", "-1"),
        ("offset", "9" * 30),
        ("session_id", "A,b=c"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(name: str, value: str, client: httpx2.AsyncClient) -> None:
    answer = await client.get("/jobs", params={name: value})
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": name})
    assert name in answer.json()["error"]


async def test_of_a_list_no_specs_are_read_but_those_of_its_page(
    cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    for number in range(10):
        cluster.run(f"r-{number}", created(number), prompt="x" * 1000)
    before = len(cluster.api.requests)
    assert ids(await client.get("/jobs", params={"limit": 2})) == ["r-9", "r-8"]
    asked = cluster.api.requests[before:]
    assert ["as=Table" in request.headers["accept"] for request in asked] == [True] + [False] * (len(asked) - 1)
    assert len(asked) <= 1 + jobs._AT_ONCE


async def test_metadata_that_is_large_is_read_in_smaller_parts(
    cluster: HttpCluster, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(obj: Object) -> Object:
        return {**obj, "metadata": obj["metadata"] | {"annotations": {"note": "x" * 4000}}}

    for number in range(30):
        cluster.run(f"r-{number:02}", large, created(number))
    monkeypatch.setattr(bounds, "ANSWER", bounds.Bounds(depth=64, size=100_000, values=100_000))
    assert len(ids(await client.get("/jobs", params={"limit": 200}))) == 30


async def test_lists_wait_for_each_other_and_not_for_ever(
    cluster: HttpCluster, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WAIT", 0.1)
    monkeypatch.setattr(listing, "AT_ONCE", 1)
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(request: Request) -> None:
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result(20)

    cluster.api.before = hold
    first = asyncio.create_task(client.get("/jobs"))
    await cluster.until(lambda: cluster.api.requests, "the first list is being read")
    second = await client.get("/jobs")
    held.set()
    assert (second.status_code, second.json()["reason"]) == (503, "ServiceUnavailable")
    assert ids(await first) == []


async def test_a_run_that_goes_while_it_is_listed_is_left_out(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("stays", created(1))
    cluster.run("goes", created(2))

    def before(request: Request) -> None:
        if request.path.endswith("/goes"):
            raise Refusal(404, "NotFound", 'agentruns.stromboli.dev "goes" not found')

    cluster.api.before = before
    assert ids(await client.get("/jobs")) == ["stays"]


async def test_cancel_answers_once_the_run_has_ended(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("mine", at(Reason.Running))
    asked = asyncio.create_task(client.delete("/jobs/mine"))
    key = ("agentruns", NAMESPACE, "mine")
    await cluster.until(lambda: cluster.api.objects[key]["spec"].get("cancel"), "it is canceled")
    cluster.progress("mine", at(Reason.Canceling))
    assert (await client.get("/jobs/mine")).json()["status"] == "running"
    assert not asked.done()
    cluster.progress("mine", at(Reason.Canceled))
    answer = await asked
    assert (answer.status_code, answer.json()) == (200, {"cancelled": True, "job_id": "mine"})
    assert (await client.get("/jobs/mine")).json()["status"] == "cancelled"


async def test_cancel_answers_after_a_while_in_any_case(
    cluster: HttpCluster, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WAIT", 0.1)
    cluster.run("mine", at(Reason.Running))
    for _ in range(2):
        answer = await client.delete("/jobs/mine")
        assert (answer.status_code, answer.json()) == (200, {"cancelled": True, "job_id": "mine"})
    assert len(cluster.api.named("PATCH")) == 1


async def test_who_may_not_watch_may_cancel_all_the_same(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    def before(request: Request) -> None:
        if request.path.endswith("/agentruns"):
            raise Refusal(403, "Forbidden", "no")

    cluster.run("mine", at(Reason.Running))
    cluster.api.before = before
    assert (await client.delete("/jobs/mine")).status_code == 200
    assert cluster.api.objects["agentruns", NAMESPACE, "mine"]["spec"]["cancel"] is True


@pytest.mark.parametrize(
    ("reason", "state"),
    [(Reason.Completed, "completed"), (Reason.Canceled, "cancelled"), (Reason.InvalidSpec, "failed")],
)
async def test_what_has_ended_is_not_canceled(
    reason: Reason, state: str, cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    cluster.run("mine", at(reason))
    answer = await client.delete("/jobs/mine")
    assert (answer.status_code, answer.json()["details"]) == (409, {"status": state})
    assert state in answer.json()["error"]
    assert not cluster.api.named("PATCH")


async def test_a_run_that_completes_in_the_meantime_was_not_canceled(
    cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    cluster.run("mine", at(Reason.Running))
    moves = [at(Reason.Running, "still"), at(Reason.Completed)]

    def before(request: Request) -> None:
        if request.method == "PATCH" and moves:
            cluster.progress("mine", moves.pop(0))

    cluster.api.before = before
    answer = await client.delete("/jobs/mine")
    assert (answer.status_code, answer.json()["details"]) == (409, {"status": "completed"})
    assert "cancel" not in cluster.api.objects["agentruns", NAMESPACE, "mine"]["spec"]


async def test_a_run_that_completes_although_it_was_canceled(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("mine", at(Reason.Running))
    asked = asyncio.create_task(client.delete("/jobs/mine"))
    await cluster.until(lambda: cluster.api.named("PATCH"), "it is canceled")
    cluster.progress("mine", at(Reason.Completed))
    answer = await asked
    assert (answer.status_code, answer.json()["details"]) == (409, {"status": "completed"})


async def test_a_run_that_is_deleted_meanwhile_was_canceled(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.run("mine", at(Reason.Running))
    asked = asyncio.create_task(client.delete("/jobs/mine"))
    await cluster.until(lambda: cluster.api.named("PATCH"), "it is canceled")
    cluster.api.remove("mine")
    assert (await asked).json() == {"cancelled": True, "job_id": "mine"}


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (401, "Unauthorized"), (429, "TooManyRequests")])
async def test_what_the_api_server_refuses(
    code: int, reason: str, cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    def before(request: Request) -> None:
        raise Refusal(code, reason, "not for you")

    cluster.api.before = before
    for answer in (await client.get("/jobs"), await client.get("/jobs/a"), await client.delete("/jobs/a")):
        assert (answer.status_code, answer.json()["reason"]) == (code, reason)
        assert answer.json()["error"].endswith("not for you")
        assert (code == 401) == ("kubectl create token" in answer.json()["error"])
