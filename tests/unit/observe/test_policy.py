"""The policy of a namespace, read at the moment that it counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import pytest

from stromboli import settings as configuration
from stromboli.errors import ClusterUnavailable, Refused
from stromboli.models.agentpolicy import Network
from stromboli.observe import policy as observed
from stromboli.observe.policy import Policies
from stromboli.plan.policy import SETTINGS, Base
from stromboli.reasons import Reason
from tests.support.fake_cluster import FakeCluster, Object

SETTING = configuration.load({})


def _policy(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "uid": "u"}, "spec": spec}


@pytest.fixture
def cluster() -> FakeCluster:
    fake = FakeCluster()
    fake.labels = {"team": {"tier": "a"}, "other": {}}
    return fake


async def test_no_policy(cluster: FakeCluster) -> None:
    found = await observed.effective(cluster, SETTING, "team")
    assert found.allowlists == ()
    assert ("namespace", "team") in cluster.asked


async def test_only_the_policies_that_select_the_namespace(cluster: FakeCluster) -> None:
    cluster.all_policies = [
        _policy("all", images={"allowed": ["**"]}),
        _policy("a", namespaceSelector={"matchLabels": {"tier": "a"}}, network="none"),
        _policy("b", namespaceSelector={"matchLabels": {"tier": "b"}}, images={"allowed": ["b/*"]}),
    ]
    team = await observed.effective(cluster, SETTING, "team")
    assert [a.owner for a in team.allowlists] == ["AgentPolicy all"]
    assert team.network is Network.none
    assert (await observed.effective(cluster, SETTING, "other")).network is Network.bridge


async def test_the_settings_are_one_more(cluster: FakeCluster) -> None:
    cluster.all_policies = [_policy("a", images={"allowed": ["python:*"]})]
    settings = configuration.load({"STROMBOLI_AGENT_ALLOWED_IMAGE_PATTERNS": "python:3.*"})
    found = await observed.effective(cluster, settings, "team")
    assert [a.owner for a in found.allowlists] == [SETTINGS, "AgentPolicy a"]


@pytest.mark.parametrize(
    "spec",
    [
        {"images": {"alowed": ["python:*"]}},
        {"network": "host"},
        {"namespaceSelector": {"matchLabels": {"tier": "b"}}, "future": True},
        {"env": [{"name": "A", "value": "\0"}]},
        {"images": {"allowed": ["[z-a]"]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
    ],
)
async def test_a_policy_that_cannot_be_read_stops_every_run(cluster: FakeCluster, spec: dict[str, Any]) -> None:
    """It might forbid anything, wherever it holds."""
    cluster.all_policies = [_policy("sound"), _policy("odd", **spec)]
    with pytest.raises(Refused) as refusal:
        await observed.effective(cluster, SETTING, "team")
    assert refusal.value.reason is Reason.PolicyViolation
    assert refusal.value.message.startswith("AgentPolicy odd")
    assert "an administrator has to correct it" in refusal.value.message


async def test_that_nobody_answers_is_not_that_there_is_no_policy(cluster: FakeCluster) -> None:
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await observed.effective(cluster, SETTING, "team")


async def test_a_policy_without_a_spec_says_nothing(cluster: FakeCluster) -> None:
    cluster.all_policies = [{"metadata": {"name": "a"}}]
    assert (await observed.effective(cluster, SETTING, "team")).allowlists == ()


async def test_it_is_read_anew_each_time(cluster: FakeCluster) -> None:
    await observed.effective(cluster, SETTING, "team")
    cluster.all_policies = [_policy("late", network="none")]
    assert (await observed.effective(cluster, SETTING, "team")).network is Network.none


def test_each_setting_arrives() -> None:
    environ = {
        "ALLOWED_IMAGE_PATTERNS": "python:*",
        "ALLOWED_VOLUMES": "/srv",
        "CLI_IMAGE": "a.example/c",
        "CLI_IMAGE_TAG": "v2",
        "AUTO_PULL_CLI": "false",
        "MOUNT_CLAUDE_CLI": "false",
        "IMAGE": "node",
        "CREDENTIALS_FILE": "/c.json",
        "CREDENTIALS_SECRET": "claude",
    }
    found = observed.base(configuration.load({f"STROMBOLI_AGENT_{k}": v for k, v in environ.items()}))
    assert found == Base(("python:*",), ("/srv",), "a.example/c", "v2", False, False, "node", True, "claude")
    assert len(environ) == len(fields(Base)), "a setting that no test knows"


# --- read ahead ---


async def begun() -> None:
    """Tasks that were started have made their calls."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_was_begun_ahead_is_taken_once(cluster: FakeCluster) -> None:
    policies = Policies(cluster, SETTING)
    async with policies.ahead("uid", "team"), policies.ahead("uid", "team"):
        await begun()
        assert cluster.asked.count(("policies",)) == 1
        cluster.all_policies = [_policy("new", images={"allowed": ["python:*"]})]
        assert (await policies.effective("other", "team")).allowlists
        assert not (await policies.effective("uid", "team")).allowlists, "as it was when the pass began"
        assert (await policies.effective("uid", "team")).allowlists
    assert (await policies.effective("uid", "team")).allowlists
    assert cluster.asked.count(("policies",)) == 4


async def test_what_is_too_old_is_read_again(cluster: FakeCluster) -> None:
    policies = Policies(cluster, SETTING)
    async with policies.ahead("uid", "team"):
        await begun()
        cluster.all_policies = [_policy("new", images={"allowed": ["python:*"]})]
        policies.forget("uid")
        assert (await policies.effective("uid", "team")).allowlists


async def test_a_failure_is_for_who_asks(cluster: FakeCluster) -> None:
    policies = Policies(cluster, SETTING)
    cluster.away = True
    async with policies.ahead("uid", "team"):
        await begun()
        with pytest.raises(ClusterUnavailable):
            await policies.effective("uid", "team")
    async with policies.ahead("uid", "team"):
        await begun()


async def test_what_nobody_asks_for_has_ended_after_the_block(cluster: FakeCluster) -> None:
    ended: list[str] = []

    @asynccontextmanager
    async def stuck(call: str) -> AsyncIterator[None]:
        try:
            await asyncio.Event().wait()
            yield
        finally:
            ended.append(call)

    cluster.guard = stuck
    async with Policies(cluster, SETTING).ahead("uid", "team"):
        await begun()
        assert len(cluster.asked) == 2
    assert sorted(ended) == ["namespace", "policies"]
