"""One request to a receiver: resolved once, judged, and sent to what was judged; and what is said of its failures."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from stromboli import signing
from stromboli.errors import InvalidInput, NotDelivered
from stromboli.grammar import receiver
from stromboli.perform.notifications import sending
from stromboli.perform.notifications.sending import Judge, Sender
from stromboli.plan.receivers import Address
from tests.support.receivers import Receiver, serving

LOOPBACK = ip_address("127.0.0.1")
HEADERS = {"Content-Type": "application/json", "User-Agent": "stromboli"}


def resolving(*answers: Sequence[str]) -> tuple[list[str], Callable[[str, int], Awaitable[Sequence[Address]]]]:
    """A resolver that gives these answers, one after the other; and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        return [ip_address(one) for one in answers[len(asked) - 1]]

    return asked, resolve


def allowing(*allowed: str) -> Judge:
    """All addresses but these are refused."""
    return lambda address, _: None if str(address) in allowed else f"{address} is refused"


async def post(sender: Sender, url: str, judge: Judge, body: bytes = b"{}") -> int:
    return await sender.post(url, receiver.parse(url), HEADERS, body, judge)


async def said(sender: Sender, url: str, judge: Judge | None = None) -> str:
    with pytest.raises(NotDelivered) as failure:
        await post(sender, url, judge or allowing("127.0.0.1"))
    assert not failure.value.refused
    return str(failure.value)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with serving(Receiver()) as made:
        yield made


# --- where it goes ---


async def test_the_request_is_what_was_asked_for(hook: Receiver) -> None:
    asked, resolve = resolving(["127.0.0.1"])
    url = hook.url("/a%2Fb/~c?token=s3cret&x=%20'", host="hooks.example")
    assert await post(Sender(resolve), url, allowing("127.0.0.1"), b'{"a": 1}') == 204
    (one,) = hook.received
    assert (one.path, one.body) == ("/a%2Fb/~c?token=s3cret&x=%20'", b'{"a": 1}')
    assert one.headers["host"] == f"hooks.example:{hook.port}"
    assert one.headers["content-type"] == "application/json"
    assert one.headers["user-agent"] == "stromboli"
    assert not one.headers.keys() & {"authorization", "cookie", "referer", "transfer-encoding"}
    assert asked == ["hooks.example"]


async def test_a_name_that_stands_for_something_else_a_moment_later_changes_nothing(hook: Receiver) -> None:
    """DNS rebinding: the second answer would be a forbidden address, if anybody asked again."""
    asked, resolve = resolving(["127.0.0.1"], ["127.0.0.2"])
    with listening("127.0.0.2", hook.port) as other:
        assert await post(Sender(resolve), hook.url(host="rebinding.example"), allowing("127.0.0.1")) == 204
        assert asked == ["rebinding.example"]
        assert other == []


async def test_the_first_answer_is_what_counts_the_other_way_round_too(hook: Receiver) -> None:
    _, resolve = resolving(["127.0.0.2"], ["127.0.0.1"])
    with pytest.raises(NotDelivered, match=r"rebinding\.example:\d+ may not be called: 127\.0\.0\.2 is refused") as e:
        await post(Sender(resolve), hook.url(host="rebinding.example"), allowing("127.0.0.1"))
    assert e.value.refused
    assert hook.received == []


async def test_of_several_addresses_only_those_that_are_allowed_are_called(hook: Receiver) -> None:
    _, resolve = resolving(["127.0.0.2", "::1", "127.0.0.1", "10.0.0.1"])
    with listening("127.0.0.2", hook.port) as other:
        assert await post(Sender(resolve), hook.url(host="many.example"), allowing("127.0.0.1")) == 204
        assert other == []
    assert len(hook.received) == 1


async def test_one_address_that_does_not_answer_is_not_the_end(hook: Receiver) -> None:
    _, resolve = resolving(["127.0.0.3", "127.0.0.1"])  # nobody listens on the first one
    assert await post(Sender(resolve), hook.url(host="many.example"), lambda *_: None) == 204


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_nodes_resolver(hook: Receiver, host: str) -> None:
    assert await post(Sender(), hook.url(host=host), allowing("127.0.0.1")) == 204
    with pytest.raises(NotDelivered, match=r"may not be called: (127\.0\.0\.1|::1) is refused") as refused:
        await post(Sender(), hook.url(host=host), allowing())
    assert refused.value.refused


async def test_an_address_is_judged_in_whichever_form_it_is_written(hook: Receiver) -> None:
    """The resolver reads forms that are no addresses by our grammar."""
    for host in ("0x7f.0.0.1", "0x7f000001"):
        with pytest.raises(NotDelivered, match=r"may not be called: 127\.0\.0\.1 is refused"):
            await post(Sender(), hook.url(host=host), allowing())
    with pytest.raises(NotDelivered, match="may not be called: ::ffff:7f00:1 is refused"):
        await post(Sender(), hook.url(host="[::ffff:127.0.0.1]"), allowing("127.0.0.1"))
    assert hook.received == []


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("2001:db8::1", False)],
)
async def test_the_nodes_own_addresses_are_known_as_such(hook: Receiver, address: str, own: bool) -> None:
    judged: list[tuple[str, bool]] = []

    def judge(one: Address, is_own: bool) -> str:
        judged.append((str(one), is_own))
        return "refused"

    _, resolve = resolving([address])
    with pytest.raises(NotDelivered, match="may not be called: refused"):
        await post(Sender(resolve), hook.url(host="own.example"), judge)
    assert judged == [(address, own)]


async def test_no_socket_is_made_for_an_address_that_was_not_judged() -> None:
    make = sending._only([LOOPBACK])
    make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))).close()
    for other in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match="was judged"):
            make((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (other, 80, 0, 0)))


async def test_no_proxy_of_the_environment_is_used(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Receiver()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        assert await post(Sender(), hook.url(), allowing("127.0.0.1")) == 204
        assert (len(hook.received), len(proxy.received)) == (1, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_not_followed(hook: Receiver, status: int) -> None:
    with serving(Receiver()) as elsewhere:
        hook.statuses, hook.headers = [status], {"Location": elsewhere.url("/other")}
        assert await post(Sender(), hook.url(), allowing("127.0.0.1")) == status
        assert elsewhere.received == []


async def test_no_cookie_is_kept(hook: Receiver) -> None:
    hook.headers = {"Set-Cookie": "a=b; Path=/"}
    sender = Sender()
    for _ in range(2):
        assert await post(sender, hook.url(), allowing("127.0.0.1")) == 204
    assert "cookie" not in hook.received[1].headers


# --- what receivers do ---


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[bytes]]:
    """Somebody who accepts connections and says nothing; the list has an entry for each. The port is `.port`."""
    accepted: list[bytes] = []
    with socket.create_server((host, port)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                accepted.append(b"")
                kept.append(connection)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield accepted
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


@contextmanager
def saying(content: bytes) -> Iterator[str]:
    """A server that answers each request with these bytes, and closes; its URL."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    with serving(Receiver(answer=answer)) as made:
        yield made.url("/hook?token=s3cret")


async def test_a_receiver_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await said(Sender(), f"http://127.0.0.1:{port}/hook?token=s3cret") == (
        f"http://127.0.0.1:{port} cannot be connected to: Connection refused"
    )


async def test_a_receiver_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TOTAL", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts connections
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert await said(Sender(), url) == f"{url} does not answer within 0 s"


async def test_a_receiver_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TOTAL", 0.3)
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not over.wait(0.02):
            handler.wfile.write(b"x")

    with serving(Receiver(answer=answer)) as made:
        try:
            assert "does not answer within" in await said(Sender(), made.url())
        finally:
            over.set()


async def test_a_name_that_cannot_be_resolved() -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert await said(Sender(resolve), "https://nowhere.example/s3cret") == (
        "https://nowhere.example cannot be resolved: Name or service not known"
    )
    assert await said(Sender(), f"https://{'a' * 64}.example/") == (
        f"https://{'a' * 64}.example cannot be resolved: its name is not valid"
    )


async def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TOTAL", 0.05)

    async def resolve(host: str, port: int) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    assert "does not answer within" in await said(Sender(resolve), "https://nowhere.example/")


async def test_a_name_without_an_address() -> None:
    _, resolve = resolving([])
    with pytest.raises(NotDelivered, match="may not be called: the name has no address"):
        await post(Sender(resolve), "https://nowhere.example/", allowing())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "closes the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as HTTP servers do"),
        (b"HTTP/1.1 2xx s3cret\r\n\r\n", "does not answer as HTTP servers do"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"s3cret" * 10_000 + b"\r\n\r\n", "does not answer as HTTP servers do"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", "does not answer as HTTP servers do"),
    ],
)
async def test_an_answer_that_is_none(content: bytes, expected: str) -> None:
    with saying(content) as url:
        found = await said(Sender(), url)
        assert expected in found
        assert "s3cret" not in found


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 5_000_000,
    ],
)
async def test_nothing_of_an_answer_is_read_but_its_status(content: bytes) -> None:
    with saying(content) as url:
        assert await post(Sender(), url, allowing("127.0.0.1")) == 200


# --- certificates ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[x509.Certificate, signing.Key, Path]:
    key, folder = signing.new_key(), tmp_path_factory.mktemp("certificates")
    made = signing.authority("receivers", key, datetime.now(UTC), timedelta(days=1))
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made, key, folder


@contextmanager
def over_tls(authority: tuple[x509.Certificate, signing.Key, Path], name: str) -> Iterator[Receiver]:
    """A receiver with a certificate for that name."""
    certificate, signer, folder = authority
    key = signing.new_key()
    hosts, uses = [x509.DNSName(name)], [ExtendedKeyUsageOID.SERVER_AUTH]
    leaf = signing.leaf(name, key, (certificate, signer), uses, hosts, datetime.now(UTC), timedelta(hours=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = folder / f"{name}.pem"
    pem.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with serving(Receiver(), context=context) as made:
        yield made


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    authority: tuple[x509.Certificate, signing.Key, Path],
) -> None:
    _, resolve = resolving(*[["127.0.0.1"]] * 2)
    trusting = Sender(resolve, ssl.create_default_context(cafile=str(authority[2] / "ca.pem")))
    with over_tls(authority, "hooks.example") as made:
        good, other = (made.url(host=host, scheme="https") for host in ("hooks.example", "other.example"))
        assert await post(trusting, good, allowing("127.0.0.1")) == 204
        assert await said(trusting, other) == (
            f"https://other.example:{made.port} has a certificate that is not valid: Hostname mismatch, certificate is "
            "not valid for 'other.example'."
        )
        assert len(made.received) == 1


async def test_only_known_authorities_are_believed(authority: tuple[x509.Certificate, signing.Key, Path]) -> None:
    _, resolve = resolving(["127.0.0.1"])
    with over_tls(authority, "hooks.example") as made:
        found = await said(Sender(resolve), made.url(host="hooks.example", scheme="https"))
        assert "has a certificate that is not valid: unable to get local issuer certificate" in found
        assert made.received == []


async def test_a_receiver_that_does_not_speak_tls(hook: Receiver) -> None:
    assert await said(Sender(), hook.url(scheme="https")) == (
        f"https://127.0.0.1:{hook.port} does not speak TLS as it should"
    )


# --- the URL, as it is read by those who send it ---


HOSTS = st.text(st.sampled_from("aZ0.-_"), min_size=1, max_size=12) | st.sampled_from(
    ["[::1]", "[::ffff:10.0.0.1]", "1.2.3.4", "0x7f.1", "localhost", "a.example."]
)
RESTS = st.just("") | st.builds(
    str.__add__, st.sampled_from("/?"), st.text(st.sampled_from("/?@:a%2F[]&;='.~"), max_size=10)
)


@given(st.sampled_from(["http", "https"]), HOSTS, st.sampled_from(["", ":", ":80", ":08443", ":65536"]), RESTS)
def test_a_url_leads_where_it_was_found_to_lead(scheme: str, host: str, port: str, rest: str) -> None:
    url = f"{scheme}://{host}{port}{rest}"
    try:
        found = receiver.parse(url)
    except InvalidInput:
        return
    sent = URL(url, encoded=True)
    assert (sent.scheme, (sent.host or "").lower(), sent.port, sent.user) == (
        found.scheme,
        found.host,
        found.port,
        None,
    )
    path, _, query = rest.partition("?")
    assert (sent.raw_path, sent.raw_query_string) == (path or "/", query)
