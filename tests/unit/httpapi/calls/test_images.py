"""GET /images, /images/search and /images/{name}: what the read API says, in Stromboli's shapes."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.support.fake_api_server import Refusal, Reply, Request
from tests.support.fake_discovery import inspected, row
from tests.support.http_cluster import NAMESPACE, HttpCluster

LIST = f"/apis/agents.stromboli.dev/v1alpha1/namespaces/{NAMESPACE}/images"
PYTHON = "docker.io/library/python:3.12"


class Nodes:
    """The read API. Each list has the next of `incomplete`; `asked` are the queries."""

    def __init__(self, cluster: HttpCluster) -> None:
        self.rows: list[dict[str, Any]] = []
        self.incomplete: list[int] = []
        self.inspected: dict[str, Any] = inspected(PYTHON)
        self.found: dict[str, Any] = {"images": [], "unanswered": [], "answered": 1}
        self.refusal: Refusal | None = None
        self.asked: list[dict[str, str]] = []
        cluster.api.routes[LIST] = self._list
        cluster.api.routes[f"{LIST}/inspect"] = lambda request: self._answer(request, self.inspected)
        cluster.api.routes[f"{LIST}/search"] = lambda request: self._answer(request, self.found)

    def _list(self, request: Request) -> Reply:
        last: dict[str, Any] = {
            "node": "node-1",
            "incomplete": self.incomplete.pop(0) if self.incomplete else 0,
            "images": self.rows,
        }
        if self.refusal is not None:
            last = self.refusal.status
        steps = [{"progress": {"done": 0, "total": 1}}, last]
        return Reply(pieces=iter([json.dumps(step).encode() + b"\n" for step in steps]))

    def _answer(self, request: Request, body: Any) -> Reply:
        self.asked.append(dict(request.query))
        if self.refusal is not None:
            raise self.refusal
        return Reply(body=body)


@pytest.fixture
def nodes(cluster: HttpCluster) -> Nodes:
    return Nodes(cluster)


async def test_the_list(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.rows = [
        row("registry.example/team/b@sha256:" + "3" * 64, rank=3),
        row("docker.io/library/odd:1", rank=None),
        row("docker.io/library/alpine:3", rank=4, tools=[]),
        row(PYTHON, rank=3, claudeCLI="/usr/bin/claude", description="for data"),
        row("docker.io/library/python:3.11", rank=3, created=None),
        row("registry.example/team/a:1", rank=1),
    ]
    answer = await client.get("/images")
    assert answer.status_code == 200
    told = answer.json()["images"]
    assert [(image["repository"], image["tag"], image.get("compatibility_rank")) for image in told] == [
        ("registry.example/team/a", "1", 1),
        ("docker.io/library/python", "3.11", 3),
        ("docker.io/library/python", "3.12", 3),
        ("registry.example/team/b", "<none>", 3),
        ("docker.io/library/alpine", "3", 4),
        ("docker.io/library/odd", "1", None),
    ]
    assert told[2] == {
        "id": f"sha256:{'1' * 64}",
        "repository": "docker.io/library/python",
        "tag": "3.12",
        "size": 129_000_000,
        "created": "2026-11-01T00:00:00Z",
        "compatibility_rank": 3,
        "compatible": True,
        "tools": ["python"],
        "has_claude_cli": True,
        "description": "for data",
    }
    assert [image["compatible"] for image in told[4:]] == [False, False]
    assert "created" not in told[1]


async def test_a_list_that_takes_long_is_asked_for_again(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.incomplete = [5, 2, 2, 0]
    assert (await client.get("/images")).status_code == 200
    assert nodes.incomplete == [0], "an operator that does not get on is not asked for ever"


async def test_a_list_that_goes_wrong_after_it_has_begun(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.refusal = Refusal(503, "ServiceUnavailable", "Podman does not respond")
    answer = await client.get("/images")
    assert (answer.status_code, answer.json()["error"]) == (503, "Podman does not respond")


@pytest.mark.parametrize("last", [b"", b'{"images": []}\n', b"[]\n", b"{\n", b'{"incomplete": "1", "images": [1]}\n'])
async def test_a_list_that_is_none(client: httpx2.AsyncClient, cluster: HttpCluster, last: bytes) -> None:
    cluster.api.routes[LIST] = lambda request: Reply(pieces=iter([last] if last else []))
    assert (await client.get("/images")).status_code == 503


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("python:3.12", "python:3.12"),
        ("docker.io/library/python:3.12", PYTHON),
        ("docker.io%2Flibrary%2Fpython%3A3.12", PYTHON),
        ("localhost:5000/team/app:1", "localhost:5000/team/app:1"),
        (f"team/app@sha256:{'3' * 64}", f"team/app@sha256:{'3' * 64}"),
        ("pull", "pull"),
    ],
)
async def test_names_with_slashes(client: httpx2.AsyncClient, nodes: Nodes, path: str, name: str) -> None:
    assert (await client.get(f"/images/{path}")).status_code == 200
    assert nodes.asked == [{"reference": name}]


async def test_what_is_in_an_image(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.inspected = inspected(PYTHON, labels={"a": "b"}, message="why", untrueLabels=["one"])
    told = (await client.get("/images/python:3.12")).json()
    assert told["found"] == {
        "platform": "linux/amd64",
        "libc": {"family": "glibc", "version": "2.36"},
        "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12"},
        "shell": "/bin/sh",
        "claude_cli": "",
        "user": "0:0",
        "tools": [{"name": "python", "version": "3.12.4"}],
    }
    assert (told["labels"], told["rank_description"], told["untrue_labels"]) == ({"a": "b"}, "compatible", ["one"])
    assert (told["repository"], told["tag"], told["has_claude_cli"]) == ("docker.io/library/python", "3.12", False)
    nodes.inspected = inspected(PYTHON, rank=None, compatible=None, os=None)
    told = (await client.get("/images/python:3.12")).json()
    assert (told["compatible"], told["rank_description"], "os" in told["found"]) == (False, "not known", False)


@pytest.mark.parametrize(
    ("refusal", "status", "word"),
    [
        (Refusal(404, "ImageMissing", "not there; `stromboli images pull`"), 404, "POST /images/pull pulls it"),
        (Refusal(403, "PolicyViolation", "two policies"), 400, "two policies"),
        (Refusal(403, "Forbidden", "is forbidden"), 403, "is forbidden"),
        (Refusal(400, "InvalidSpec", "is not an image"), 400, "is not an image"),
        (Refusal(503, "ServiceUnavailable", "away"), 503, "away"),
    ],
)
async def test_why_nothing_is_said_of_an_image(
    client: httpx2.AsyncClient, nodes: Nodes, refusal: Refusal, status: int, word: str
) -> None:
    nodes.refusal = refusal
    answer = await client.get("/images/python:3.12")
    assert (answer.status_code, word in answer.json()["error"]) == (status, True)


async def test_a_name_that_is_too_long(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    answer = await client.get(f"/images/{'x' * 1025}")
    assert (answer.status_code, answer.json()["details"], nodes.asked) == (400, {"field": "name"}, [])


async def test_an_inspection_that_is_none(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.inspected = {"image": PYTHON}
    assert (await client.get("/images/python:3.12")).status_code == 503


def found(registry: str, name: str, description: str = "") -> dict[str, Any]:
    return {
        "registry": registry,
        "name": name,
        "description": description,
        "stars": 7,
        "official": True,
        "automated": False,
        "allowed": True,
    }


async def test_a_search(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.found["images"] = [found("docker.io", "docker.io/library/python", "x" * 60)]
    answer = await client.get("/images/search?q=python")
    assert answer.json() == {
        "results": [
            {
                "index": "docker.io",
                "name": "docker.io/library/python",
                "description": f"{'x' * 44}...",
                "stars": 7,
                "official": True,
                "automated": False,
            }
        ]
    }
    whole = await client.get("/images/search?q=python&no_trunc=true")
    assert whole.json()["results"][0]["description"] == "x" * 60


async def test_the_results_of_all_registries_are_within_the_limit(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.found["images"] = [found("a", f"a/{n}") for n in range(3)] + [found("b", f"b/{n}") for n in range(2)]
    told = (await client.get("/images/search?q=x&limit=4")).json()["results"]
    assert [result["name"] for result in told] == ["a/0", "b/0", "a/1", "b/1"]


@pytest.mark.parametrize(
    ("query", "limit"),
    [("q=a", "25"), ("q=a&limit=1", "1"), ("q=a&limit=101", "100"), ("q=a&limit=" + "9" * 40, "100")],
)
async def test_the_limit_of_a_search(client: httpx2.AsyncClient, nodes: Nodes, query: str, limit: str) -> None:
    assert (await client.get(f"/images/search?{query}")).status_code == 200
    assert nodes.asked == [{"query": "a", "limit": limit}]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"),
        ("q=", "q"),
        ("q=%20", "q"),
        ("q=a%00b", "q"),
        (f"q={'x' * 256}", "q"),
        ("q=a&limit=0", "limit"),
        ("q=a&limit=-1", "limit"),
        ("q=a&limit=ten", "limit"),
        ("q=a&limit=", "limit"),
        (f"q=a&limit={'9' * 5000}", "limit"),
        ("q=a&no_trunc=perhaps", "no_trunc"),
    ],
)
async def test_a_search_that_is_refused(client: httpx2.AsyncClient, nodes: Nodes, query: str, field: str) -> None:
    answer = await client.get(f"/images/search?{query}")
    assert (answer.status_code, answer.json()["details"], nodes.asked) == (400, {"field": field}, [])


async def test_registries_that_do_not_answer(client: httpx2.AsyncClient, nodes: Nodes) -> None:
    nodes.found["unanswered"] = [{"registry": "docker.io", "problem": "registry unavailable", "message": "refused"}]
    assert (await client.get("/images/search?q=a")).status_code == 200, "another has answered"
    nodes.found["answered"] = 0
    answer = await client.get("/images/search?q=a")
    assert (answer.status_code, answer.json()["reason"]) == (502, "SearchFailed")
    assert "docker.io: refused" in answer.json()["error"]
