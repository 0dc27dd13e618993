"""A person's calls to the API server, over real HTTP and TLS."""

from __future__ import annotations

import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.errors import ApiRefused, ApiUnreachable, LocalFailure
from stromboli.kube import kubeconfig
from stromboli.kube.kubeconfig import Place
from stromboli.kube.states import states
from stromboli.kube.user import NAMESPACES, RUNS, User
from stromboli.naming import AGENTS_API
from tests.support.fake_api_server import FakeApiServer, Refusal, Reply, Request


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer().serving() as served:
        yield served


def written(folder: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    path = folder / "config"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def user(server: FakeApiServer, tmp_path: Path) -> Iterator[User]:
    with User(kubeconfig.read([written(tmp_path, server.url, {"token": "t"})])) as made:
        yield made


def run(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"prompt": "x"}, **more}


def test_what_is_created_can_be_read_changed_listed_and_deleted(user: User, server: FakeApiServer) -> None:
    made = user.create(RUNS, "ns", run("a"))
    assert user.get(RUNS, "ns", "a") == made
    assert user.patch(RUNS, "ns", "a", {"spec": {"cancel": True}})["spec"] == {"prompt": "x", "cancel": True}
    listed = user.list(RUNS, "ns")
    assert [item["metadata"]["name"] for item in listed.items] == ["a"]
    assert listed.version
    with pytest.raises(ApiRefused) as refused:
        user.delete(RUNS, "ns", "a", uid="another")
    assert refused.value.status == 409
    user.delete(RUNS, "ns", "a", uid=made["metadata"]["uid"])
    with pytest.raises(ApiRefused, match="not found") as refused:
        user.get(RUNS, "ns", "a")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer t"}


def test_a_list_comes_in_pages(user: User, server: FakeApiServer) -> None:
    for number in range(250):
        server.add("agentruns", run(f"r{number:03}"))
    assert len(user.list(RUNS, "ns").items) == 250
    assert [request.query.get("continue") for request in server.requests] == [None, "100", "200"]


def test_the_next_call_has_the_same_connection(user: User, server: FakeApiServer) -> None:
    peers = []
    server.before = lambda request: peers.append(request.headers["host"])
    user.list(NAMESPACES, None)
    kept = list(user._idle)
    user.list(NAMESPACES, None)
    assert user._idle == kept
    assert len(kept) == 1


def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    """Neither for a change, which is sent once only: an API server closes what is idle for long without a word."""
    answered: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                client, _ = listening.accept()
                with client:
                    answered.append(client.recv(65536))
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        with User(Place("it", f"http://127.0.0.1:{listening.getsockname()[1]}")) as user:
            user.get(RUNS, "ns", "a")
            [kept] = user._idle
            assert select.select([kept.sock], [], [], 20)[0], "the server closes it"
            user.patch(RUNS, "ns", "a", {"spec": {"cancel": True}})
        thread.join(20)
    assert [request[:5] for request in answered] == [b"GET /", b"PATCH"]


def test_a_stream_comes_as_it_is_sent(user: User, server: FakeApiServer) -> None:
    go = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"one\ntw"
        assert go.wait(20)
        yield b"o\nthree"

    server.routes["/log"] = lambda request: Reply(pieces=pieces(), headers={"Stromboli-Offset": "7"})
    with user.stream("/log", {"follow": "true"}, silence=20) as stream:
        assert stream.headers["stromboli-offset"] == "7"
        lines = stream.lines()
        assert next(lines) == b"one"
        go.set()
        assert list(lines) == [b"two", b"three"]


def test_a_stream_that_says_nothing_is_lost(user: User, server: FakeApiServer) -> None:
    over = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"one"
        over.wait(20)

    server.routes["/log"] = lambda request: Reply(pieces=pieces())
    with user.stream("/log", silence=0.2) as stream, pytest.raises(ApiUnreachable, match="timed out"):
        list(stream)
    over.set()


def test_a_stream_that_is_closed_by_another_thread_ends(user: User, server: FakeApiServer) -> None:
    over = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"one"
        over.wait(20)

    server.routes["/log"] = lambda request: Reply(pieces=pieces())
    with user.stream("/log", silence=None) as stream:
        pieces_read = iter(stream)
        assert next(pieces_read) == b"one"
        threading.Timer(0.1, stream.close).start()
        assert list(pieces_read) == []
    over.set()


def test_a_stream_that_breaks_off_is_lost(user: User, server: FakeApiServer) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise ConnectionAbortedError

    server.routes["/log"] = lambda request: Reply(pieces=pieces())
    with user.stream("/log", silence=20) as stream, pytest.raises(ApiUnreachable):
        list(stream)


def test_no_server(tmp_path: Path) -> None:
    place = kubeconfig.read([written(tmp_path, "http://127.0.0.1:9", {})])
    with pytest.raises(ApiUnreachable, match=r"(?s)127.0.0.1:9 does not respond: Connection refused.*config"):
        User(place).list(RUNS, "ns")


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"", b"[" * 10_000])
def test_a_server_that_is_another_one(user: User, server: FakeApiServer, content: bytes) -> None:
    server.routes["/x"] = lambda request: Reply(body=content)
    with pytest.raises(ApiUnreachable, match="gives no valid answer"):
        user.document("/x")


def test_a_refusal_in_words_of_a_proxy(user: User, server: FakeApiServer) -> None:
    server.routes["/x"] = lambda request: Reply(502, b"no upstream")
    with pytest.raises(ApiRefused, match="no upstream"):
        user.document("/x")


def test_a_gateway_that_is_down(user: User, server: FakeApiServer) -> None:
    """Of which the API server says nothing more than this."""
    path = f"{AGENTS_API}/namespaces/ns/images"
    server.routes[path] = lambda request: Reply(503, b"service unavailable\n")
    with pytest.raises(ApiRefused, match=r"Stromboli's gateway, .*, does not answer\n.*`stromboli status`"):
        user.document(path)


def test_a_timeout_of_the_api_server_which_has_no_kind(user: User, server: FakeApiServer) -> None:
    said = (
        b'{"metadata":{},"status":"Failure","message":"Timeout: too slow","reason":"Timeout","details":{},"code":504}'
    )
    server.routes["/x"] = lambda request: Reply(504, said)
    with pytest.raises(ApiRefused) as refused:
        user.document("/x")
    assert (refused.value.message, refused.value.reason, refused.value.status) == ("Timeout: too slow", "Timeout", 504)


def test_a_cluster_without_the_kinds(user: User, server: FakeApiServer) -> None:
    def before(request: Request) -> None:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    server.before = before
    with pytest.raises(ApiRefused, match="install Stromboli's CRDs"):
        user.list(RUNS, "ns")


def test_the_states_of_an_object_whatever_happens_to_the_watch(user: User, server: FakeApiServer) -> None:
    lost: list[LocalFailure] = []
    seen = states(user, RUNS, "ns", "a", lost=lost.append)
    assert next(seen) is None
    server.add("agentruns", run("other"))
    server.add("agentruns", run("a"))
    assert _version(next(seen)) == _version(server.objects["agentruns", "ns", "a"])
    server.until(lambda: server.watches, "it watches")
    server.drop()
    server.until(lambda: not server.watches, "the watch has broken off")
    server.status("a", {"phase": "Running"})
    assert (next(seen) or {})["status"] == {"phase": "Running"}
    assert len(lost) == 1
    server.remove("a")
    assert next(seen) is None


def test_the_states_of_an_object_that_was_there_before(user: User, server: FakeApiServer) -> None:
    """Whoever has created a run does not give up because the API server is away for a moment."""
    server.add("agentruns", run("a"))

    def before(request: Request) -> None:
        server.before = lambda request: None
        raise Refusal(504, "Timeout", "too slow")

    for known in (True, False):
        server.before = before
        lost: list[LocalFailure] = []
        seen = states(user, RUNS, "ns", "a", known=known, lost=lost.append)
        with nullcontext() if known else pytest.raises(ApiRefused):
            assert _version(next(seen)) == _version(server.objects["agentruns", "ns", "a"])
        assert len(lost) == known


def _version(obj: Any) -> str:
    return str(obj["metadata"]["resourceVersion"])


def test_states_end_at_their_time(user: User, server: FakeApiServer) -> None:
    began = time.monotonic()
    assert list(states(user, RUNS, "ns", "a", until=began + 0.3)) == [None]
    assert 0.2 < time.monotonic() - began < 5


def test_a_watch_whose_version_is_too_old_begins_anew(user: User, server: FakeApiServer) -> None:
    server.add("agentruns", run("a"))
    answers = itertools.count()

    def gone() -> Iterator[bytes]:
        yield json.dumps({"type": "ERROR", "object": Refusal(410, "Expired", "too old").status}).encode() + b"\n"

    def before(request: Request) -> None:
        if request.query.get("watch") and next(answers) == 0:
            server.routes[request.path] = lambda request: Reply(pieces=gone())
        else:
            server.routes.clear()

    server.before = before
    seen = states(user, RUNS, "ns", "a")
    assert next(seen) is not None
    threading.Timer(0.2, lambda: server.status("a", {"phase": "Running"})).start()
    assert (next(seen) or {})["status"] == {"phase": "Running"}
