"""What the gateway keeps up with, and what it does while it cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from stromboli.errors import ClusterUnavailable, Conflict, StromboliError
from stromboli.gateway import upkeep
from stromboli.gateway.upkeep import Upkeep
from stromboli.keys import certificates, sign
from stromboli.keys.certificates import Authority, Leaf, Subject
from stromboli.keys.keyring import Keyring

PROXIES = [sign.authority(datetime.now(UTC))["certificate"] for _ in range(2)]


class Cluster:
    """The API server's side."""

    def __init__(self) -> None:
        self.failure: StromboliError | None = None
        self.secret: Mapping[str, bytes] | None = None
        self.authentication = {"requestheader-client-ca-file": PROXIES[0], "requestheader-username-headers": '["U"]'}
        self.ca_bundle: str | None = ""
        self.written: list[str] = []
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure

    async def keys(self) -> Mapping[str, bytes] | None:
        self._ask()
        return self.secret

    async def create_keys(self, data: Mapping[str, str]) -> None:
        self._ask()
        self.secret = {key: text.encode() for key, text in data.items()}

    async def front_proxy(self) -> Mapping[str, bytes]:
        self._ask()
        return {key: text.encode() for key, text in self.authentication.items()}

    async def api_service_authority(self) -> str | None:
        self._ask()
        return self.ca_bundle

    async def set_api_service_authority(self, authority: str) -> None:
        self._ask()
        self.ca_bundle = authority
        self.written.append(authority)


@pytest.fixture(autouse=True)
def signed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for a certificate."""

    async def new_authority() -> Authority:
        return Authority(**sign.authority(datetime.now(UTC)))

    async def new_leaf(of: Authority, subject: Subject) -> Leaf:
        about = {
            "authority": {"certificate": of.certificate, "key": of.key},
            "common": "c",
            "hosts": [],
            "client": True,
        }
        now = datetime.now(UTC)
        return Leaf(sign.leaf(about, now)["chain"], now, now + timedelta(days=90))

    monkeypatch.setattr(certificates, "new_authority", new_authority)
    monkeypatch.setattr(certificates, "new_leaf", new_leaf)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def kept(cluster: Cluster) -> Upkeep:
    return Upkeep(cluster, Keyring(cluster, Subject("g", (), client=True)))


async def test_it_begins_with_all_that_connections_need(cluster: Cluster, kept: Upkeep) -> None:
    assert kept.wrong
    await kept.begin()
    assert not kept.wrong
    assert kept.still_trusts(kept.server())
    assert cluster.secret is not None
    assert cluster.written == [cluster.secret["ca.crt"].decode()]


async def test_nothing_is_made_anew_while_all_is_as_it_was(cluster: Cluster, kept: Upkeep) -> None:
    await kept.begin()
    server, client = kept.server(), kept.client()
    await kept.attempt()
    assert (kept.server(), kept.client()) == (server, client)
    assert len(cluster.written) == 1


async def test_keys_that_cannot_be_used_do_not_hide_another_front_proxy(cluster: Cluster, kept: Upkeep) -> None:
    await kept.begin()
    old, whole = kept.server(), cluster.secret
    cluster.secret = {"ca.crt": b"half"}
    cluster.authentication["requestheader-client-ca-file"] = PROXIES[1]
    assert await kept.attempt(), "with the keys from before"
    assert not kept.still_trusts(old)
    assert kept.still_trusts(kept.server())
    assert not kept.wrong
    cluster.secret = whole
    assert await kept.attempt()


async def test_another_ca_of_the_front_proxy_counts_at_once(cluster: Cluster, kept: Upkeep) -> None:
    await kept.begin()
    old = kept.server()
    cluster.authentication["requestheader-client-ca-file"] = "".join(PROXIES)
    await kept.attempt()
    both = kept.server()
    assert both is not old
    assert kept.still_trusts(old), "what it was accepted by is trusted still"
    cluster.authentication["requestheader-client-ca-file"] = PROXIES[1]
    await kept.attempt()
    assert not kept.still_trusts(old)
    assert not kept.still_trusts(both)
    assert kept.still_trusts(kept.server())


async def test_other_names_and_headers_count_at_once(cluster: Cluster, kept: Upkeep) -> None:
    await kept.begin()
    cluster.authentication["requestheader-allowed-names"] = json.dumps(["other"])
    await kept.attempt()
    assert kept.proxy.names == {"other"}


async def test_the_apiservice_gets_the_ca_whenever_it_differs(cluster: Cluster, kept: Upkeep) -> None:
    cluster.ca_bundle = None  # nobody has created it yet
    await kept.begin()
    assert cluster.written == []
    for other in ("", "of another"):
        cluster.ca_bundle = other
        await kept.attempt()
    assert len(cluster.written) == 2
    cluster.secret = None  # somebody removes the keys: there are others
    await kept.attempt()
    assert len(set(cluster.written)) == 2


@pytest.mark.parametrize("failure", [ClusterUnavailable("refused"), Conflict("lost")])
async def test_what_was_known_stays_while_the_api_server_is_away(
    cluster: Cluster, kept: Upkeep, failure: StromboliError
) -> None:
    await kept.begin()
    server, cluster.failure = kept.server(), failure
    assert await kept.attempt(), "it serves"
    assert (kept.server(), kept.wrong) == (server, "")
    cluster.failure = None
    assert await kept.attempt()


async def test_a_configmap_that_cannot_be_read_changes_nothing(cluster: Cluster, kept: Upkeep) -> None:
    await kept.begin()
    proxy = kept.proxy
    for broken in ({"requestheader-allowed-names": "x"}, {"requestheader-client-ca-file": "no PEM"}):
        cluster.authentication |= broken
        await kept.attempt()
        assert kept.proxy is proxy
        assert kept.still_trusts(kept.server())


async def test_it_waits_for_an_api_server_that_is_not_there(
    cluster: Cluster, kept: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.failure = ClusterUnavailable("refused")
    assert not await kept.attempt()
    assert kept.wrong == "refused"

    def come(failures: int) -> float:
        cluster.failure = None
        return 0.0

    monkeypatch.setattr(upkeep, "backoff", come)
    await kept.begin()
    assert not kept.wrong


async def test_without_a_front_proxy_it_is_not_ready_and_says_why(cluster: Cluster, kept: Upkeep) -> None:
    cluster.authentication = {}
    await kept.begin()
    assert "--requestheader-client-ca-file" in kept.wrong


async def test_a_loop_that_has_ended_is_seen(kept: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.begin()
    assert not kept.is_stuck
    monkeypatch.setattr(upkeep, "STUCK", -1.0)
    assert kept.is_stuck
