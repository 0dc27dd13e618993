"""GET /sessions, DELETE /sessions/{id}, and the messages of a session."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from stromboli.api.answers import encoded
from stromboli.plan.history import Part, Wanted
from stromboli.reasons import Reason
from tests.support.builders import at
from tests.support.fake_api_server import Refusal, Reply, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster

TALK = "5b9d2c4e-8a1f-4c3d-9e7a-1f2b3c4d5e6f"
CONVERSATION = "33333333-3333-4333-8333-333333333333"
TIME = "2026-11-25T06:44:27.270Z"
CALLED = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls", "x": {"stop_reason": None}}}
RECORD = (
    {"type": "user", "uuid": "u0", "message": {"role": "user", "content": "list it"}, "timestamp": TIME, "cwd": "/w"},
    {
        "type": "assistant",
        "uuid": "u1",
        "parentUuid": "u0",
        "gitBranch": "main",
        "permissionMode": "plan",
        "version": "2.1.331",
        "message": {
            "role": "assistant",
            "id": "msg_1",
            "model": "claude",
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 3, "output_tokens": 4},
            "content": [{"type": "text", "text": "I look. ✓"}, {"type": "thinking"}, CALLED],
        },
    },
    {
        "type": "user",
        "uuid": "u2",
        "parentUuid": "u1",
        "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a"}]},
        "toolUseResult": {"stdout": "a", "stderr": "", "interrupted": False, "isImage": False},
    },
)


def spoken(cluster: HttpCluster, *record: object, name: str = TALK) -> None:
    """A session with this conversation, which a node's read API serves."""
    cluster.session(name, node="node-1", claudeSessionID=CONVERSATION)

    def serve(request: Request) -> Reply:
        query = request.query
        assert query.get("full") == "true"
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 200))
        part = Part(Wanted(offset, limit, query.get("uuid", "")))
        for event in record:
            part.feed(json.dumps(event).encode() + b"\n")
        entries = [entry.json for entry in part.finish()]
        answer = {"session": name, "truncated": part.truncated, "total": part.total, "entries": entries}
        return Reply(body=encoded(answer))

    cluster.api.routes[messages_path(name)] = serve


def messages_path(name: str = TALK) -> str:
    return f"/apis/agents.stromboli.dev/v1alpha1/namespaces/{NAMESPACE}/agentsessions/{name}/messages"


async def test_ids_as_both_clients_read_them(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/sessions")).json() == {"sessions": []}
    for minute, name in enumerate(("b", TALK, "a")):
        made = cluster.session(name)
        made["metadata"]["creationTimestamp"] = f"2026-01-31T12:{minute:02}:00Z"
        cluster.api.add("agentsessions", made)
    cluster.api.add("agentsessions", {"metadata": {"name": "z", "namespace": "other"}, "spec": {}})
    assert (await client.get("/sessions")).json() == {"sessions": ["a", TALK, "b"]}
    assert (await client.get("/sessions", headers={"X-Stromboli-Namespace": "other"})).json() == {"sessions": ["z"]}


async def test_all_that_is_known_of_them(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    for minute, name in enumerate(("old", "new")):
        made = cluster.session(name)
        made["metadata"]["creationTimestamp"] = f"2026-01-31T12:{minute:02}:00Z"
        cluster.api.add("agentsessions", made)
    made["spec"] = {"title": "Tests", "template": {"image": "python:3.12"}, "forkedFrom": {"name": "old", "uid": "x"}}
    made["status"] = {
        "node": "node-1",
        "runs": 2,
        "currentRun": {"name": "r", "uid": "y"},
        "lastUsed": "2026-01-31T13:00:00Z",
        "sizeBytes": 5,
        "conditions": [{"type": "Ready", "status": "True", "reason": "InUse", "message": "m"}],
    }
    cluster.api.add("agentsessions", made)
    answer = await client.get("/sessions", params={"view": "full"})
    assert answer.json() == {
        "sessions": [
            {
                "id": "new",
                "title": "Tests",
                "state": "InUse",
                "node": "node-1",
                "image": "python:3.12",
                "runs": 2,
                "current_run": "r",
                "forked_from": "old",
                "last_used": "2026-01-31T13:00:00Z",
                "created_at": "2026-01-31T12:01:00Z",
                "size_bytes": 5,
            },
            {"id": "old", "runs": 0, "created_at": "2026-01-31T12:00:00Z"},
        ],
        "limit": 100,
        "offset": 0,
        "has_more": False,
    }
    answer = await client.get("/sessions", params={"view": "full", "limit": 1})
    assert ([each["id"] for each in answer.json()["sessions"]], answer.json()["has_more"]) == (["new"], True)
    answer = await client.get("/sessions", params={"view": "full", "limit": 1, "offset": 1})
    assert ([each["id"] for each in answer.json()["sessions"]], answer.json()["has_more"]) == (["old"], False)


async def test_a_session_is_deleted(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.session(TALK)
    answer = await client.delete(f"/sessions/{TALK}")
    assert (answer.status_code, answer.json()) == (200, {"success": True, "session_id": TALK})
    assert ("agentsessions", NAMESPACE, TALK) not in cluster.api.objects
    assert (await client.delete(f"/sessions/{TALK}")).status_code == 404


@pytest.mark.parametrize("name", ["nothing", "No_Name", "a%2Fb", "..%2Fx", "x" * 300])
async def test_an_unknown_session(name: str, client: httpx2.AsyncClient) -> None:
    for answer in (
        await client.delete(f"/sessions/{name}"),
        await client.get(f"/sessions/{name}/messages"),
        await client.get(f"/sessions/{name}/messages/u0"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


async def test_what_was_said_in_stromboli_s_shape(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    spoken(cluster, *RECORD)
    answer = await client.get(f"/sessions/{TALK}/messages")
    assert answer.status_code == 200
    assert answer.json() == {
        "messages": [
            {
                "uuid": "u0",
                "type": "user",
                "session_id": TALK,
                "cwd": "/w",
                "timestamp": TIME,
                "content": {"role": "user", "content": [{"type": "text", "text": "list it"}]},
            },
            {
                "uuid": "u1",
                "type": "assistant",
                "parent_uuid": "u0",
                "session_id": TALK,
                "git_branch": "main",
                "permission_mode": "plan",
                "version": "2.1.331",
                "content": {
                    "role": "assistant",
                    "model": "claude",
                    "message_id": "msg_1",
                    "stop_reason": "tool_use",
                    "usage": {
                        "input_tokens": 3,
                        "output_tokens": 4,
                        "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": 0,
                    },
                    "content": [{"type": "text", "text": "I look. ✓"}, {"type": "thinking"}, CALLED],
                },
            },
            {
                "uuid": "u2",
                "type": "user",
                "parent_uuid": "u1",
                "session_id": TALK,
                "content": {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a", "is_error": False}],
                },
                "tool_result": {"stdout": "a", "stderr": "", "interrupted": False, "is_image": False},
            },
        ],
        "total": 3,
        "limit": 50,
        "offset": 0,
        "has_more": False,
    }


async def test_pages_of_messages(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    spoken(cluster, *RECORD)
    seen, offset = [], 0
    for _ in range(2):
        page = (await client.get(f"/sessions/{TALK}/messages", params={"limit": 2, "offset": offset})).json()
        seen += [message["uuid"] for message in page["messages"]]
        assert (page["total"], page["limit"], page["offset"], page["has_more"]) == (3, 2, offset, offset == 0)
        offset += page["limit"]
    assert seen == ["u0", "u1", "u2"]
    page = (await client.get(f"/sessions/{TALK}/messages", params={"limit": 1000, "offset": 7})).json()
    assert (page["messages"], page["total"], page["limit"], page["has_more"]) == ([], 3, 200, False)


async def test_one_message(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    spoken(cluster, *RECORD)
    answer = await client.get(f"/sessions/{TALK}/messages/u2")
    assert list(answer.json()) == ["message"]
    assert (answer.json()["message"]["uuid"], answer.json()["message"]["tool_result"]["stdout"]) == ("u2", "a")
    for unknown in ("u9", "x" * 65, "%00", "a%2Fb", "✓"):
        answer = await client.get(f"/sessions/{TALK}/messages/{unknown}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "-1"), ("limit", "x"), ("offset", "-1"), ("offset", "9" * 20), ("view", "some")],
)
async def test_a_parameter_that_is_wrong_is_named(
    name: str, value: str, cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    spoken(cluster, *RECORD)
    path = "/sessions" if name == "view" else f"/sessions/{TALK}/messages"
    answer = await client.get(path, params={name: value})
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": name})


async def test_before_anything_was_said_there_is_nothing(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    nothing = {"messages": [], "total": 0, "limit": 50, "offset": 0, "has_more": False}
    cluster.run("asked", session={"name": "to-come"})
    cluster.session("fresh")
    cluster.session("begun", node="node-1", claudeSessionID=CONVERSATION)

    def nothing_yet(request: Request) -> Reply:
        raise Refusal(404, "NotFound", "the session begun has no conversation on this node; its first run starts one")

    cluster.api.routes[messages_path("begun")] = nothing_yet
    for name in ("to-come", "fresh", "begun"):
        answer = await client.get(f"/sessions/{name}/messages")
        assert (answer.status_code, answer.json()) == (200, nothing)
        assert (await client.get(f"/sessions/{name}/messages/u0")).status_code == 404


async def test_a_session_that_was_deleted_is_gone_whatever_runs_it_had(
    cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    cluster.run("asked", at(Reason.Completed), session={"name": TALK})
    assert (await client.get(f"/sessions/{TALK}/messages")).status_code == 404


async def test_a_node_that_is_away_and_one_that_says_nonsense(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    def away(request: Request) -> Reply:
        raise Refusal(503, "ServiceUnavailable", "the operator of node node-1 does not answer")

    nonsense: list[Any] = [{}, {"entries": 7, "total": 1}, {"entries": [{}], "total": 1}, {"entries": [], "total": "x"}]
    spoken(cluster)
    cluster.api.routes[messages_path()] = away
    answer = await client.get(f"/sessions/{TALK}/messages")
    assert (answer.status_code, "node-1" in answer.json()["error"]) == (503, True)
    for body in nonsense:
        reply = Reply(body=body)
        cluster.api.routes[messages_path()] = lambda _, reply=reply: reply  # type: ignore[misc]
        for path in (f"/sessions/{TALK}/messages", f"/sessions/{TALK}/messages/u0"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "error")


async def test_where_there_is_no_read_api_that_is_said(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    cluster.session(TALK, node="node-1", claudeSessionID=CONVERSATION)
    answer = await client.get(f"/sessions/{TALK}/messages")
    assert (answer.status_code, "could not find the requested resource" in answer.json()["error"]) == (503, True)


async def test_whatever_an_agent_has_written_is_answered(cluster: HttpCluster, client: httpx2.AsyncClient) -> None:
    hostile: list[Any] = [
        {"type": "user", "message": {}},
        {"type": "user", "uuid": ["x"], "message": {"role": 7, "content": [7, None, {"type": []}, {"type": "new"}]}},
        {"type": "assistant", "uuid": "\ud800", "message": {"content": "\ud800\x00\x1b[2J"}, "timestamp": "now"},
        {"type": "assistant", "message": {"usage": {"input_tokens": -1, "output_tokens": "7"}, "content": {}}},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": {}, "input": [1]}]}},
        {
            "type": "assistant",
            "message": {"content": [{"type": "tool_use", "input": {"a": float("inf"), "\udc80": 1}}]},
        },
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": 7, "is_error": "x"}]}},
        {"type": "user", "message": {"content": "x"}, "toolUseResult": {"stdout": "\ud800", "stderr": 3}},
    ]
    spoken(cluster, *hostile)
    answer = await client.get(f"/sessions/{TALK}/messages")
    assert (answer.status_code, len(answer.json()["messages"])) == (200, len(hostile))


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (401, "Unauthorized"), (429, "TooManyRequests")])
async def test_what_the_api_server_refuses(
    code: int, reason: str, cluster: HttpCluster, client: httpx2.AsyncClient
) -> None:
    def before(request: Request) -> None:
        raise Refusal(code, reason, "not for you")

    cluster.api.before = before
    for answer in (
        await client.get("/sessions"),
        await client.delete("/sessions/a"),
        await client.get("/sessions/a/messages"),
        await client.get("/sessions/a/messages/u"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (code, reason)
