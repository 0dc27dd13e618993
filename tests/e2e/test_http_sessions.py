"""Sessions by HTTP, with everything real behind them: their list, their conversations, their end."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.support.http_api import NO_TOKEN, HttpApi
from tests.support.runs import ENDLESS, condition
from tests.support.waiting import eventually


@pytest.fixture
def local(http_api: HttpApi) -> HttpApi:
    """As the local user, where the real CLI records what was said."""
    return replace(http_api, namespace="default", token=NO_TOKEN)


def body(prompt: str, image: str, **claude: Any) -> dict[str, Any]:
    options = {"dangerously_skip_permissions": True, **claude}
    return {"prompt": prompt, "claude": options, "podman": {"image": image, "timeout": "2m"}}


def run(http_api: HttpApi, prompt: str, image: str, **claude: Any) -> str:
    """Run it; the session's ID."""
    answer = http_api.call("POST", "/run", body(prompt, image, **claude))
    assert (answer.status, answer.body.get("status")) == (200, "completed"), answer.body
    session: str = answer.body["session_id"]
    return session


def get(http_api: HttpApi, path: str) -> dict[str, Any]:
    answer = http_api.call("GET", path)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


def texts(page: dict[str, Any]) -> list[tuple[str, str]]:
    """Who said what, in texts and results of tools."""
    return [
        (message["type"], block.get("text") or block["content"])
        for message in page["messages"]
        for block in message["content"]["content"]
        if block["type"] in ("text", "tool_result")
    ]


def test_a_conversation_is_read_in_stromboli_s_shape(local: HttpApi, python_image: str) -> None:
    id = run(local, "ECHO{hello}", python_image)
    assert run(local, "BASH{echo one; echo two}", python_image, session_id=id, resume=True) == id
    whole = get(local, f"/sessions/{id}/messages")
    said = texts(whole)
    assert said[:3] == [("user", "ECHO{hello}"), ("assistant", "hello"), ("user", "BASH{echo one; echo two}")]
    assert said[3] == ("user", "one\ntwo")
    assert (whole["total"], whole["limit"], whole["offset"], whole["has_more"]) == (
        len(whole["messages"]),
        50,
        0,
        False,
    )
    assert {message["session_id"] for message in whole["messages"]} == {id}
    uuids = [message["uuid"] for message in whole["messages"]]
    assert len(set(uuids)) == len(uuids)
    [called] = [b for m in whole["messages"] for b in m["content"]["content"] if b["type"] == "tool_use"]
    assert (called["name"], called["input"]["command"]) == ("Bash", "echo one; echo two")
    [told] = [message for message in whole["messages"] if "tool_result" in message]
    assert told["tool_result"] == {"stdout": "one\ntwo", "stderr": "", "interrupted": False, "is_image": False}
    assert told["content"]["content"][0]["tool_use_id"] == called["id"]
    pages = [get(local, f"/sessions/{id}/messages?limit=2&offset={at}") for at in range(0, whole["total"], 2)]
    assert [message for page in pages for message in page["messages"]] == whole["messages"]
    assert [page["has_more"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert get(local, f"/sessions/{id}/messages/{told['uuid']}") == {"message": told}
    unknown = local.call("GET", f"/sessions/{id}/messages/{uuid.uuid4()}")
    assert (unknown.status, unknown.body["details"]) == (404, {"session_id": id})


def test_sessions_are_listed_and_deleted(local: HttpApi, python_image: str) -> None:
    id = run(local, "ECHO{hello}", python_image)
    fork = run(local, "ECHO{there}", python_image, session_id=id, resume=True, fork_session=True)
    assert fork != id
    listed = get(local, "/sessions")
    assert list(listed) == ["sessions"]
    assert {id, fork} <= set(listed["sessions"])
    found = {each["id"]: each for each in get(local, "/sessions?view=full")["sessions"]}
    assert (found[id]["runs"], found[id]["state"]) == (1, "Available")
    assert found[id]["node"]
    assert found[id]["last_used"] >= found[id]["created_at"]
    assert found[fork]["forked_from"] == id
    assert texts(get(local, f"/sessions/{fork}/messages"))[:2] == [("user", "ECHO{hello}"), ("assistant", "hello")]
    answer = local.call("DELETE", f"/sessions/{id}")
    assert (answer.status, answer.body) == (200, {"success": True, "session_id": id})
    assert id not in get(local, "/sessions")["sessions"]
    for method, path in (("DELETE", ""), ("GET", "/messages"), ("GET", "/messages/x")):
        assert local.call(method, f"/sessions/{id}{path}").status == 404
    again = local.call("POST", "/run", body("ECHO{x}", python_image, session_id=id, resume=True))
    assert again.status == 404
    assert texts(get(local, f"/sessions/{fork}/messages"))[-1] == ("assistant", "there")


def test_a_session_is_there_before_anything_was_said_and_its_end_cancels_its_run(
    local: HttpApi, python_image: str
) -> None:
    fresh = str(uuid.uuid4())
    asked = body(f"BASH{{{ENDLESS}}}", python_image, session_id=fresh)
    job = local.call("POST", "/run/async", asked).body
    assert job["session_id"] == fresh
    first = get(local, f"/sessions/{fresh}/messages")
    assert first["total"] == len(first["messages"]) <= 2

    def current() -> dict[str, Any]:
        found = get(local, "/sessions?view=full")["sessions"]
        return next(each for each in found if each["id"] == fresh)

    eventually(lambda: current().get("current_run") == job["job_id"], "the run is in it", current, 60)
    eventually(lambda: get(local, f"/sessions/{fresh}/messages")["total"] > 0, "it can be read meanwhile", current, 60)
    assert local.call("DELETE", f"/sessions/{fresh}").status == 200

    def reason() -> Any:
        found = local.kubectl("-n", local.namespace, "get", "agentrun", job["job_id"], "-o", "json")
        return condition(json.loads(found)).get("reason")

    eventually(lambda: reason() == "Canceled", "the run is canceled", reason, 60)
    assert local.call("GET", f"/jobs/{job['job_id']}").body["status"] == "cancelled"


def test_another_namespace_is_another_s(http_api: HttpApi) -> None:
    headers = {"X-Stromboli-Namespace": "kube-system"}
    for method, path in (("GET", ""), ("DELETE", "/x"), ("GET", "/x/messages"), ("GET", "/x/messages/y")):
        answer = http_api.call(method, f"/sessions{path}", headers=headers)
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
