"""The statuses of policies: written where they are not what they should be, and left alone where they are."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Conflict, Rejected
from stromboli.models.objects import Status
from stromboli.models.policy import Policy
from stromboli.perform.policies import EVERY_POLICY, PolicyStatuses
from tests.support.fake_cluster import FakeCluster

Object = dict[str, Any]


def _policy(name: str, generation: int = 1, **spec: Any) -> Object:
    meta = {"name": name, "uid": name, "generation": generation, "resourceVersion": "1"}
    return {"kind": "AgentPolicy", "metadata": meta, "spec": spec, "status": {"observedGeneration": -1}}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def _conditions(cluster: FakeCluster, name: str) -> dict[str, tuple[str, str]]:
    status = next(p for p in cluster.all_policies if p["metadata"]["name"] == name)["status"]
    assert {c["observedGeneration"] for c in status["conditions"]} == {status["observedGeneration"]}
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


async def test_each_policy_is_told_what_it_comes_to_once(cluster: FakeCluster) -> None:
    cluster.all_policies = [
        _policy("a", volumes={"allowed": [{"path": "/a"}]}),
        _policy("b", 4, volumes={"allowed": [{"path": "/b"}]}),
        _policy("c"),
    ]
    statuses = PolicyStatuses(cluster)
    assert await statuses.reconcile(EVERY_POLICY) is None
    assert sorted(cluster.writes) == ["policy a", "policy b", "policy c"]
    for name in "ab":
        assert _conditions(cluster, name) == {"Accepted": ("True", "Accepted"), "Effective": ("False", "Contradiction")}
    assert _conditions(cluster, "c") == {"Accepted": ("True", "Accepted"), "Effective": ("True", "Effective")}
    assert cluster.all_policies[1]["status"]["observedGeneration"] == 4
    assert await statuses.reconcile(EVERY_POLICY) is None
    assert len(cluster.writes) == 3, "nothing has changed"


async def test_what_one_policy_says_changes_what_others_are_told(cluster: FakeCluster) -> None:
    cluster.all_policies = [_policy("a", cli={"tag": "1"}), _policy("b", cli={"tag": "2"})]
    statuses = PolicyStatuses(cluster)
    await statuses.reconcile(EVERY_POLICY)
    assert _conditions(cluster, "a")["Effective"] == ("False", "Contradiction")
    before = cluster.all_policies[0]["status"]["conditions"][0]["lastTransitionTime"]
    del cluster.all_policies[1]
    await statuses.reconcile(EVERY_POLICY)
    assert _conditions(cluster, "a")["Effective"] == ("True", "Effective")
    assert cluster.all_policies[0]["status"]["conditions"][0]["lastTransitionTime"] == before


async def test_one_that_cannot_be_read_is_told_why(cluster: FakeCluster) -> None:
    cluster.all_policies = [_policy("odd", network="host"), _policy("fine")]
    await PolicyStatuses(cluster).reconcile(EVERY_POLICY)
    assert _conditions(cluster, "odd") == {"Accepted": ("False", "Invalid"), "Effective": ("False", "Invalid")}
    assert _conditions(cluster, "fine") == {"Accepted": ("True", "Accepted"), "Effective": ("False", "Invalid")}
    assert "spec.network" in cluster.all_policies[0]["status"]["conditions"][0]["message"]


@pytest.mark.parametrize(("error", "again"), [(Conflict("changed"), 0.0), (Rejected("too large"), None)])
async def test_a_write_that_fails_keeps_no_other_from_its_own(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, error: Exception, again: float | None
) -> None:
    cluster.all_policies = [_policy("a"), _policy("b")]
    write = cluster.write_status

    async def failing(obj: Policy, status: Status) -> Policy:
        if obj.name == "a":
            raise error
        return await write(obj, status)

    monkeypatch.setattr(cluster, "write_status", failing)
    assert await PolicyStatuses(cluster).reconcile(EVERY_POLICY) == again
    assert cluster.writes == ["policy b"]
