"""What a server may answer that is no answer: nothing is known then, and nothing is concluded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster as Server
from lightkube.config.models import Context

from stromboli.errors import ClusterUnavailable, Conflict, Rejected
from stromboli.kube import objects
from stromboli.kube.client import Cluster
from stromboli.kube.credentials import Credentials
from stromboli.kube.plain import Plain, unobserved
from stromboli.models.agentsession import AgentSessionSpec
from tests.support.fake_http import FakeHttp

Ask = Callable[[Cluster], Awaitable[object]]
READS: dict[str, Ask] = {
    "installation": lambda c: c.installation(),
    "run": lambda c: c.run("s", "n"),
    "session": lambda c: c.session("s", "n"),
    "session outline": lambda c: c.session_outline("s", "n"),
    "run heads": lambda c: c.run_heads("s", "n"),
    "policies": lambda c: c.policies(),
    "labels": lambda c: c.namespace_labels("n"),
    "config map": lambda c: c.config_map_data("s", "n"),
    "secret": lambda c: c.secret_data("s", "n"),
    "kinds": lambda c: c.serves_its_kinds(),
}


def answering(status: int, content: bytes) -> Cluster:
    """A cluster whose server answers everything so."""
    cluster, plain = Cluster.__new__(Cluster), Plain.__new__(Plain)
    plain._observe = unobserved
    plain._http = FakeHttp(lambda _: (status, content))  # type: ignore[assignment]
    plain._credentials = Credentials(SingleConfig("x", Context(cluster="x"), Server(server="https://x")))
    cluster._over(plain)
    return cluster


@pytest.mark.parametrize("ask", READS.values(), ids=READS)
@pytest.mark.parametrize(
    "content", [b"", b"null", b"5", b"[]", b"<html>", b'{"metadata":5,"data":5,"groups":5}', b"\xff"]
)
async def test_what_is_no_object_is_an_unknown(ask: Ask, content: bytes) -> None:
    with pytest.raises(ClusterUnavailable):
        await ask(answering(200, content))


@pytest.mark.parametrize("content", [b"", b"null", b"<html>", b"[" * 100_000, b'{"message":5}', b'{"message":"gone"}'])
async def test_a_failure_counts_whatever_words_it_comes_with(content: bytes) -> None:
    for ask in READS.values():
        with pytest.raises(ClusterUnavailable):
            await ask(answering(503, content))
    assert await answering(404, content).run("s", "n") is None
    with pytest.raises(Conflict):
        await answering(409, content).create_session("s", "n", AgentSessionSpec())


async def test_a_redirection_is_no_success() -> None:
    with pytest.raises(ClusterUnavailable, match=r"DELETE .* was answered with status 302"):
        await answering(302, b"").delete_session("s", "n")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, Rejected),
        (422, Rejected),
        (404, Conflict),
        (409, Conflict),
        (429, ClusterUnavailable),
        (500, ClusterUnavailable),
    ],
)
async def test_why_a_finished_run_is_not_deleted(status: int, error: type[Exception]) -> None:
    """A 403 may be an admission policy's word about this run only."""
    with pytest.raises(error, match="words"):
        await answering(status, b'{"message":"words"}').delete_finished_run("s", "n", "u", "1")


async def test_the_servers_own_words_are_told() -> None:
    with pytest.raises(ClusterUnavailable, match="etcd is on its way"):
        await answering(503, b'{"kind":"Status","message":"etcd is on its way"}').run("s", "n")


async def test_a_mistake_of_our_own_is_no_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(_: object) -> None:
        raise KeyError("metadata")

    monkeypatch.setattr(objects, "run", mistaken)
    with pytest.raises(KeyError):
        await answering(200, b'{"metadata":{"name":"n"},"spec":{"prompt":"x"}}').run("s", "n")
