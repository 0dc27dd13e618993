"""Which Secrets are read for an image, and what of them is used."""

from __future__ import annotations

import json

import pytest

from stromboli.errors import ClusterUnavailable
from stromboli.grammar.reference import parse
from stromboli.models.agentpolicy import PullSecretRef
from stromboli.models.fields import PullSecretName
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.registry_credentials import Login
from tests.support.fake_cluster import FakeCluster

APP = parse("registry.test/team/app:1")
OWN = [PullSecretName(name="own")]
SHARED = [PullSecretRef(name="shared"), PullSecretRef(name="shared", namespace="vault")]


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    for namespace, name in (("team-a", "own"), ("system", "shared"), ("vault", "shared")):
        auths = {"registry.test": {"username": namespace, "password": "open sesame"}}
        made.secrets[namespace, name] = {".dockerconfigjson": json.dumps({"auths": auths}).encode()}
    return made


async def test_an_objects_own_come_first(cluster: FakeCluster) -> None:
    tenant = PullSecrets(cluster, "system").tenant("team-a", OWN, SHARED)
    found = await tenant.keys(APP)
    assert tenant.namespace == "team-a"
    assert [each.user for each in found.credentials if isinstance(each, Login)] == ["team-a", "system", "vault"]
    assert found.secrets == (
        "the Secret own",
        "the Secret shared in namespace system",
        "the Secret shared in namespace vault",
    )


async def test_they_are_read_each_time(cluster: FakeCluster) -> None:
    tenant = PullSecrets(cluster, "system").tenant("team-a", OWN)
    assert (await tenant.keys(APP)).credentials
    del cluster.secrets["team-a", "own"]
    found = await tenant.keys(APP)
    assert (found.credentials, found.lacking) == ((), ("the Secret own does not exist",))


async def test_no_others_are_read(cluster: FakeCluster) -> None:
    assert await PullSecrets(cluster, "system").tenant("team-a", None).keys(APP) == (
        await PullSecrets(cluster, "system").tenant("team-b", []).keys(APP)
    )
    assert cluster.asked == []


async def test_an_api_server_that_does_not_answer_is_no_missing_secret(cluster: FakeCluster) -> None:
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await PullSecrets(cluster, "system").tenant("team-a", OWN).keys(APP)
