"""Each call to the API server is reported, by what it is about and without a name."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster as Server
from lightkube.config.models import Context

from stromboli.errors import HttpFailed
from stromboli.kube.credentials import Credentials
from stromboli.kube.kinds import AgentPolicy, AgentRun, Namespace, Secret
from stromboli.kube.plain import Plain
from tests.support.fake_http import FakeHttp

Calls = list[tuple[str, str, int, float]]


def made(status: int = 200, *, away: bool = False) -> tuple[Plain, Calls]:
    calls: Calls = []

    def respond(headers: Mapping[str, str]) -> tuple[int, bytes]:
        if away:
            raise HttpFailed("refused")
        return status, b"{}"

    plain = Plain.__new__(Plain)
    plain._observe = lambda *call: calls.append(call)
    plain._http = FakeHttp(respond)  # type: ignore[assignment]
    plain._credentials = Credentials(SingleConfig("x", Context(cluster="x"), Server(server="https://x")))
    return plain, calls


async def test_what_calls_are_about() -> None:
    plain, calls = made()
    await plain.get(AgentRun, "fix", namespace="team")
    await plain.list(AgentRun, {})
    await plain.replace(AgentRun.Status, "fix", {}, namespace="team")
    await plain.create(Secret, {}, namespace="team")
    await plain.get(Namespace, "kube-system")
    await plain.get(AgentPolicy, "agentruns")
    await plain.document("/apis")
    await plain.document("/apis/stromboli.dev/v1alpha1")
    assert [call[:3] for call in calls] == [
        ("GET", "agentruns", 200),
        ("GET", "agentruns", 200),
        ("PUT", "agentruns/status", 200),
        ("POST", "secrets", 200),
        ("GET", "namespaces", 200),
        ("GET", "agentpolicies", 200),
        ("GET", "discovery", 200),
        ("GET", "discovery", 200),
    ]


@pytest.mark.parametrize(("status", "away"), [(409, False), (503, False), (0, True)])
async def test_one_that_fails(status: int, away: bool) -> None:
    plain, calls = made(status, away=away)
    with pytest.raises(HttpFailed):
        await plain.get(AgentRun, "fix", namespace="team")
    [(method, resource, told, seconds)] = calls
    assert (method, resource, told) == ("GET", "agentruns", status)
    assert 0 <= seconds < 60
