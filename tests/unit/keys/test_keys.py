"""The keys of the gateway and the operators, and what TLS makes of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stromboli.errors import ClusterUnavailable, Conflict, LocalFailure
from stromboli.keys import certificates, contexts, sign
from stromboli.keys.certificates import AUTHORITY_LIFE, LEAF_LIFE, Authority, Leaf, Subject
from stromboli.keys.keyring import Keyring

NOW = datetime.now(UTC)
GATEWAY = Subject("stromboli-gateway", ("gateway.test",), client=True)
OPERATOR = Subject("stromboli-operator", ("operator.test",), client=False)


def authority(now: datetime = NOW) -> Authority:
    return Authority(**sign.authority(now))


def leaf(of: Authority, subject: Subject, now: datetime = NOW) -> Leaf:
    about = {"authority": {"certificate": of.certificate, "key": of.key}}
    made = sign.leaf({**about, "common": subject.common, "hosts": subject.hosts, "client": subject.client}, now)
    return Leaf(made["chain"], datetime.fromisoformat(made["since"]), datetime.fromisoformat(made["until"]))


@asynccontextmanager
async def served(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, context: ssl.SSLContext, name: str) -> bytes:
    """What the server says: nothing to whom it refuses, since with TLS 1.3 it does that after the handshake."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
    except ssl.SSLCertVerificationError:
        raise
    except (ssl.SSLError, ConnectionError):
        return b""


async def test_the_gateway_is_served_by_the_operator_that_it_means() -> None:
    known = authority()
    server = contexts.server(leaf(known, OPERATOR), known.certificate, required=True)
    async with asyncio.timeout(20), served(server) as port:
        client = contexts.client(leaf(known, GATEWAY), known.certificate)
        assert await said(port, client, "operator.test") == b"hello\n"
        with pytest.raises(ssl.SSLCertVerificationError):
            await said(port, client, "another.test")


async def test_nobody_else_is_served() -> None:
    known, other = authority(), authority()
    server = contexts.server(leaf(known, OPERATOR), known.certificate, required=True)
    nobody = ssl.create_default_context(cadata=known.certificate)
    async with asyncio.timeout(20), served(server) as port:
        for client in (
            contexts.client(leaf(other, GATEWAY), known.certificate),
            contexts.client(leaf(known, OPERATOR), known.certificate),  # a server's is no client's
            contexts.client(leaf(known, GATEWAY, NOW - LEAF_LIFE - timedelta(days=1)), known.certificate),
            nobody,
        ):
            assert await said(port, client, "operator.test") == b""


async def test_whoever_need_not_show_a_certificate_may_do_without() -> None:
    known, proxies = authority(), authority()
    server = contexts.server(leaf(known, GATEWAY), proxies.certificate, required=False)
    nobody = ssl.create_default_context(cadata=known.certificate)
    async with asyncio.timeout(20), served(server) as port:
        assert await said(port, nobody, "gateway.test") == b"hello\n"
        other = contexts.client(leaf(known, GATEWAY), known.certificate)
        assert await said(port, other, "gateway.test") == b"", "one that it shows has to be of the CA"


def test_pem_that_is_none() -> None:
    known = authority()
    with pytest.raises(ValueError, match="no PEM certificate"):
        contexts.client(leaf(known, GATEWAY), "none")


@pytest.mark.parametrize("change", [{"key": authority().key}, {"key": "none"}, {"certificate": "none"}])
def test_an_authority_that_is_none_signs_nothing(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        leaf(replace(authority(), **change), GATEWAY)


def test_no_certificate_outlives_its_authority() -> None:
    old = authority(NOW - AUTHORITY_LIFE + LEAF_LIFE - timedelta(days=1))
    with pytest.raises(ValueError, match="the CA is valid until"):
        leaf(old, GATEWAY)


async def test_they_are_created_in_a_process_of_its_own() -> None:
    known = await certificates.new_authority()
    made = await certificates.new_leaf(known, GATEWAY)
    contexts.server(made, known.certificate, required=True)
    assert not made.is_worn(datetime.now(UTC))
    assert made.is_worn(datetime.now(UTC) + LEAF_LIFE / 2)
    with pytest.raises(LocalFailure, match="a certificate could not be created: "):
        await certificates.new_leaf(replace(known, key="none"), GATEWAY)


# --- the keyring ---


class Cluster:
    """The Secret of a cluster. `faster` is created by somebody else as soon as we try to."""

    def __init__(self, data: Mapping[str, bytes] | None = None) -> None:
        self.data = data
        self.faster: Mapping[str, bytes] | None = None
        self.away = False

    async def keys(self) -> Mapping[str, bytes] | None:
        if self.away:
            raise ClusterUnavailable("the API server: connection refused")
        return self.data

    async def create_keys(self, data: Mapping[str, str]) -> None:
        self.data = self.faster or self.data or {key: text.encode() for key, text in data.items()}
        if self.faster is not None:
            raise Conflict("it exists")


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[Authority]:
    """The CAs of which certificates were made, in this process."""
    asked: list[Authority] = []

    async def new_leaf(of: Authority, subject: Subject) -> Leaf:
        asked.append(of)
        try:
            return leaf(of, subject, datetime.now(UTC))
        except ValueError as e:
            raise LocalFailure(f"a certificate could not be created: {e}") from e

    async def new_authority() -> Authority:
        return authority()

    monkeypatch.setattr(certificates, "new_leaf", new_leaf)
    monkeypatch.setattr(certificates, "new_authority", new_authority)
    return asked


def data_of(of: Authority) -> dict[str, bytes]:
    return {"ca.crt": of.certificate.encode(), "ca.key": of.key.encode()}


async def test_the_first_creates_what_all_have(signed: list[Authority]) -> None:
    cluster = Cluster()
    first, second = Keyring(cluster, GATEWAY), Keyring(cluster, OPERATOR)
    assert await first.refresh()
    assert await second.refresh()
    assert first.authority == second.authority
    assert cluster.data is not None
    assert first.authority.encode() == cluster.data["ca.crt"]
    assert first.leaf != second.leaf


async def test_who_is_slower_takes_what_is_there(signed: list[Authority]) -> None:
    cluster, known = Cluster(), authority()
    cluster.faster = data_of(known)
    ring = Keyring(cluster, GATEWAY)
    await ring.refresh()
    assert ring.authority == known.certificate


async def test_a_certificate_is_replaced_long_before_it_ends(signed: list[Authority]) -> None:
    now = [datetime.now(UTC)]
    ring = Keyring(Cluster(data_of(authority())), GATEWAY, lambda: now[0])
    assert [await ring.refresh() for _ in range(3)] == [True, False, False]
    now[0] += LEAF_LIFE / 2 + timedelta(hours=1)
    assert await ring.refresh()
    assert len(signed) == 2


async def test_another_authority_is_taken(signed: list[Authority]) -> None:
    cluster = Cluster(data_of(authority()))
    ring = Keyring(cluster, GATEWAY)
    await ring.refresh()
    other = authority()
    cluster.data = data_of(other)
    assert await ring.refresh()
    assert ring.authority == other.certificate


@pytest.mark.parametrize(
    "data", [{}, {"ca.crt": b"x"}, {"ca.crt": b"\xff", "ca.key": b""}, {"ca.crt": b"none", "ca.key": b"none"}]
)
async def test_a_secret_that_has_no_keys_is_said_to_be_in_the_way(data: Any, signed: list[Authority]) -> None:
    cluster = Cluster(data_of(authority()))
    ring = Keyring(cluster, GATEWAY)
    await ring.refresh()
    before = ring.leaf
    cluster.data = data
    with pytest.raises(ClusterUnavailable, match=r"delete .*"):
        await ring.refresh()
    assert ring.leaf is before, "what was good stays"


async def test_without_the_api_server_the_old_keys_go_on(signed: list[Authority]) -> None:
    cluster = Cluster(data_of(authority()))
    ring = Keyring(cluster, GATEWAY)
    await ring.refresh()
    before, cluster.away = ring.leaf, True
    with pytest.raises(ClusterUnavailable):
        await ring.refresh()
    assert ring.leaf is before
