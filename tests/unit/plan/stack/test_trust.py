"""A file does not get between the agent in it and whoever the agent trusts."""

from __future__ import annotations

import pytest

from stromboli.compose.selection import Selected
from stromboli.compose.stack import Attachment, Service
from stromboli.errors import ComposeProblem, NotPermitted
from stromboli.models.agentpolicy import Network
from stromboli.plan.stack import trust

GATEWAY = {"ANTHROPIC_BASE_URL": "https://gateway.acme.test:8443/v1", "HTTPS_PROXY": "http://[broken"}
DB = Service("db", networks={"default": Attachment("")})


def judged(dev: Service, *others: Service, **env: str) -> None:
    trust.judge(Selected("dev", {one.name: one for one in (dev, *others)}), env, Network.bridge)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "GCONV_PATH", "BASH_FUNC_x%%"])
def test_no_variable_of_the_agents_service_loads_code(name: str) -> None:
    with pytest.raises(ComposeProblem, match=r"services\.dev\.environment: .* changes which code"):
        judged(Service("dev", environment={"A": "1", name: "x"}))
    judged(Service("dev"), Service("db", environment={name: "x"}))


@pytest.mark.parametrize("name", ["ENV", "NODE_OPTIONS", "BUN_OPTIONS", "HOME", "PATH", "DEBUG"])
def test_what_is_withheld_from_the_cli_or_overridden_is_fine(name: str) -> None:
    judged(Service("dev", environment={name: "x"}))


@pytest.mark.parametrize(
    "poser",
    [
        Service("gateway.acme.test", networks={"default": Attachment("")}),
        Service("db", container_name="Gateway.acme.test", networks={"default": Attachment("")}),
        Service("db", networks={"default": Attachment("", ("gateway.acme.test",))}),
        Service("db", hostname="gateway.acme.test", networks={"default": Attachment("")}),
    ],
    ids=["name", "container_name", "alias", "hostname"],
)
def test_no_service_poses_as_the_gateway(poser: Service) -> None:
    judged(Service("dev"), poser)
    with pytest.raises(ComposeProblem, match=r"(?i)services\S+: answers to .*gateway.acme.test"):
        judged(Service("dev"), poser, **GATEWAY)
    judged(Service("dev"), DB, **GATEWAY)


def test_an_agent_without_network_needs_a_gateway() -> None:
    alone = Service("dev", network_mode="none")
    with pytest.raises(ComposeProblem, match=r"services\.dev\.network_mode: is none"):
        judged(alone)
    judged(alone, ANTHROPIC_UNIX_SOCKET="/srv/gateway/api.sock")
    judged(Service("dev"), Service("db", network_mode="none"))


def test_nobody_is_on_the_nodes_network_where_runs_have_none() -> None:
    services = {"dev": Service("dev"), "db": Service("db", network_mode="host")}
    trust.judge(Selected("dev", services), {}, Network.bridge)
    with pytest.raises(NotPermitted, match=r"services\.db\.network_mode: is host, and a policy sets network: none"):
        trust.judge(Selected("dev", services), {}, Network.none)
