"""Authentication and authorization reviews on a real API server, by an account that may only create reviews."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from stromboli.api.authorise import Authorizer
from stromboli.api.errors import Declined
from stromboli.controlplane.cluster import Cluster as ControlPlane
from stromboli.errors import ClusterUnavailable
from stromboli.kube.plain import Plain
from stromboli.kube.reviews import Access, Reviews
from tests.support.cluster import Kubectl

OPERATOR_RULES = [
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
]
READER_RULES = [{"apiGroups": ["stromboli.dev"], "resources": ["agentsessions/messages"], "verbs": ["get"]}]
RBAC = "rbac.authorization.k8s.io"


class Accounts:
    """Service accounts in a namespace that is deleted with them."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.namespace = f"reviews-{uuid.uuid4().hex[:12]}"
        self._kubectl = kubectl
        kubectl("create", "namespace", self.namespace)

    def make(self, name: str, kind: str, rules: list[dict[str, Any]]) -> str:
        """Create an account with that rule, in the namespace (Role) or everywhere (ClusterRole). Returns its token."""
        role = f"{self.namespace}-{name}"
        place = {"namespace": self.namespace} if kind == "Role" else {}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        for body in (
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": self.namespace}},
            {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": role, **place}, "rules": rules},
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": role, **place},
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
                "subjects": [subject],
            },
        ):
            self._kubectl("apply", "-f", "-", stdin=json.dumps(body))
        return self._kubectl("-n", self.namespace, "create", "token", name).strip()


@pytest.fixture(scope="module")
def accounts(kubectl: Kubectl) -> Iterator[Accounts]:
    made = Accounts(kubectl)
    yield made
    kubectl("delete", "clusterrole,clusterrolebinding", f"{made.namespace}-operator")
    kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="module")
def reader(accounts: Accounts) -> str:
    """The token of an account that may read messages in the namespace."""
    return accounts.make("reader", "Role", READER_RULES)


@pytest.fixture(scope="module")
def operator_token(accounts: Accounts) -> str:
    return accounts.make("operator", "ClusterRole", OPERATOR_RULES)


def config_of(kubeconfig: Path, token: str, **changes: str) -> SingleConfig:
    document = yaml.safe_load(kubeconfig.read_text())
    document["clusters"][0]["cluster"] |= changes
    config = KubeConfig.from_dict(document, fname=kubeconfig)
    config.users = {name: User(token=token) for name in config.users}
    found = config.get()
    assert found is not None
    return found


@pytest.fixture
async def reviews(cluster: ControlPlane, operator_token: str) -> AsyncIterator[Reviews]:
    plain = Plain(config_of(cluster.kubeconfig, operator_token))
    yield Reviews(plain)
    await plain.close()


def access(namespace: str) -> Access:
    return Access("get", "stromboli.dev", "agentsessions", "messages", namespace, "mine")


async def test_a_token_is_somebody_s(reviews: Reviews, accounts: Accounts, reader: str) -> None:
    person = await reviews.person(reader)
    assert person is not None
    assert person.username == f"system:serviceaccount:{accounts.namespace}:reader"
    assert f"system:serviceaccounts:{accounts.namespace}" in person.groups
    assert person.uid


@pytest.mark.parametrize("forged", ["nobody's", "eyJhbGciOiJub25lIn0.e30.", "x" * 7000])
async def test_a_token_is_nobody_s(reviews: Reviews, forged: str) -> None:
    assert await reviews.person(forged) is None


async def test_what_somebody_may_do(reviews: Reviews, accounts: Accounts, reader: str) -> None:
    person = await reviews.person(reader)
    assert person is not None
    allowed = access(accounts.namespace)
    assert await reviews.allows(person, allowed)
    for other in (
        replace(allowed, namespace="default"),
        replace(allowed, verb="list"),
        replace(allowed, subresource=""),
        replace(allowed, resource="agentruns"),
        replace(allowed, group="example.org"),
    ):
        assert not await reviews.allows(person, other), other


async def test_the_administrator_may(reviews: Reviews, cluster: ControlPlane) -> None:
    config = KubeConfig.from_file(cluster.kubeconfig).get()
    assert config is not None
    assert config.user is not None
    assert config.user.token
    person = await reviews.person(config.user.token)
    assert person is not None
    assert await reviews.allows(person, access("default"))


async def test_the_gate_on_the_real_thing(reviews: Reviews, accounts: Accounts, reader: str) -> None:
    authorizer = Authorizer(reviews)
    person = await authorizer.admit(f"Bearer {reader}", access(accounts.namespace))
    assert person.username.endswith(":reader")
    with pytest.raises(Declined, match=r"may not get agentsessions/messages of stromboli\.dev for mine in default"):
        await authorizer.admit(f"Bearer {reader}", access("default"))
    with pytest.raises(Declined, match="does not accept this token"):
        await authorizer.admit("Bearer nobody", access(accounts.namespace))


@pytest.mark.parametrize("server", [None, "https://127.0.0.1:9"])
async def test_nothing_is_known_where_it_cannot_be_asked(
    cluster: ControlPlane, reader: str, server: str | None
) -> None:
    """By an account that may not create reviews, and by an unreachable server. The error does not contain the token."""
    changes = {"server": server} if server else {}
    plain = Plain(config_of(cluster.kubeconfig, reader, **changes))
    reviews = Reviews(plain)
    with pytest.raises(ClusterUnavailable, match="asked for a TokenReview") as refused:
        await reviews.person("a-secret-token")
    assert "a-secret-token" not in str(refused.value)
    await plain.close()
