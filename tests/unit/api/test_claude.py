"""The read API's routes about Claude's credentials and about the operator: nothing that nobody has to know."""

from __future__ import annotations

from stromboli.api.claude import ClaudeRoutes
from stromboli.api.readiness import ReadinessRoute
from stromboli.errors import ClusterUnavailable
from stromboli.observe.claude import ClaudeStatus
from tests.unit.api.served import ask, client_of

PATH = "/apis/agents.stromboli.dev/v1alpha1/namespaces/team/claudestatus"


async def test_what_is_found_of_the_namespace() -> None:
    asked: list[str] = []

    async def find(namespace: str) -> ClaudeStatus:
        asked.append(namespace)
        return ClaudeStatus(True, "yes")

    async with client_of(ClaudeRoutes(find)) as client:
        assert await ask(client, PATH) == (200, {"configured": True, "message": "yes"})
        assert (await ask(client, PATH.replace("team", "a%2fb")))[0] == 404
    assert asked == ["team"]


async def test_an_api_server_that_is_away() -> None:
    async def find(namespace: str) -> ClaudeStatus:
        raise ClusterUnavailable("it does not answer")

    async with client_of(ClaudeRoutes(find)) as client:
        assert (await ask(client, PATH))[0] == 503


async def test_the_operator_names_its_checks_and_no_more() -> None:
    problems: list[str] = []
    async with client_of(ReadinessRoute(lambda: problems)) as client:
        assert await ask(client, "/readyz") == (200, {"problems": []})
        problems += ["podman: /run/user/1000/podman.sock: refused", "disk: /home/ada is full"]
        assert await ask(client, "/readyz") == (200, {"problems": ["podman", "disk"]})
