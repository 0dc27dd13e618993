"""With what a person's calls log in, over real TLS, and through what they get there."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import signing
from stromboli.errors import ApiUnreachable, LocalFailure
from stromboli.kube.kubeconfig import Place, Program
from stromboli.kube.user import RUNS, User
from tests.support.fake_api_server import FakeApiServer, Refusal, Request

V1 = "client.authentication.k8s.io/v1"


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer().serving() as served:
        yield served


def ask(place: Place) -> None:
    """A call."""
    with User(place) as user:
        user.list(RUNS, "ns")


def header(place: Place, server: FakeApiServer) -> str | None:
    """What is sent by a call."""
    ask(place)
    return server.requests[-1].headers.get("authorization")


def program(folder: Path, script: str, **more: Any) -> Program:
    path = folder / "login"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    given: dict[str, Any] = {
        "command": (str(path),),
        "api_version": V1,
        "env": {},
        "interactive": "IfAvailable",
        "gets_cluster": False,
        "hint": "",
    }
    return Program(**{**given, **more})


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


def test_what_is_in_the_header(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-a-file\n")
    place = Place("it", server.url)
    assert header(place, server) is None
    assert header(replace(place, username="a", password="b"), server) == "Basic YTpi"
    assert header(replace(place, token="t"), server) == "Bearer t"
    assert header(replace(place, token="t", token_file=tmp_path / "token"), server) == "Bearer of-a-file"
    of_program = program(tmp_path, f"echo '{credential(token='p')}'")
    assert header(replace(place, program=of_program), server) == "Bearer p"
    assert header(replace(place, program=of_program, token="t"), server) == "Bearer t", "as kubectl does it"


def test_a_user_who_acts_as_another_one(server: FakeApiServer) -> None:
    header(Place("it", server.url, token="t", as_whom=[("Impersonate-User", "zoë")]), server)
    assert server.requests[-1].headers["impersonate-user"].encode("latin-1").decode() == "zoë"


def test_a_token_that_is_refused_is_read_again(server: FakeApiServer, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"""echo x >> {count}; echo '{credential(token="p$N")}' | sed "s/\\$N/$(wc -l < {count})/" """

    def before(request: Request) -> None:
        if request.headers["authorization"] != "Bearer p2":
            raise Refusal(401, "Unauthorized", "Unauthorized")

    server.before = before
    with User(Place("it", server.url, program=program(tmp_path, script))) as user:
        user.list(RUNS, "ns")
        user.list(RUNS, "ns")
    assert count.read_text() == "x\nx\n", "it is asked once more, and no more"
    with User(Place("it", server.url, token="t")) as user, pytest.raises(LocalFailure, match="Unauthorized"):
        user.list(RUNS, "ns")


def test_what_a_program_is_told(server: FakeApiServer, tmp_path: Path) -> None:
    script = f"""printf %s "$KUBERNETES_EXEC_INFO" > {tmp_path}/told; echo "$MORE" >> {tmp_path}/more
    echo '{credential(token="p")}'"""
    made = program(tmp_path, script, gets_cluster=True, env={"MORE": "more"})
    header(Place("it", server.url, program=made, server_name="other"), server)
    assert json.loads((tmp_path / "told").read_text()) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": server.url, "tls-server-name": "other"}},
    }
    assert (tmp_path / "more").read_text() == "more\n"


@pytest.mark.parametrize(
    ("script", "more", "said"),
    [
        ("exit 3", {}, "ended with 3"),
        ("true", {}, "printed no credentials"),
        ("echo '{}'", {}, "printed no credentials"),
        (f"echo '{credential()}'", {}, "neither a token nor a certificate"),
        (f"printf %s '{json.dumps({'status': {'token': 's3cret' + chr(10) + 'x'}})}'", {}, "cannot be sent"),
        ("true", {"command": ("/nowhere/at/all",), "hint": "brew install it"}, "(?s)not installed.*brew install it"),
        ("true", {"api_version": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1' is not supported"),
        ("true", {"interactive": "Always"}, "needs a terminal"),
    ],
)
def test_a_program_that_gives_nothing(tmp_path: Path, script: str, more: Mapping[str, Any], said: str) -> None:
    place = Place("it", "http://127.0.0.1:9", program=program(tmp_path, script, **more), context="x")
    with pytest.raises(LocalFailure, match=said) as failed:
        ask(place)
    assert "s3cret" not in str(failed.value)
    assert "context x" in str(failed.value)


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    place = Place("it", "http://127.0.0.1:9", token_file=tmp_path / "none")
    with pytest.raises(LocalFailure, match="has no credentials: the token's file cannot be read"):
        ask(place)


def test_a_token_file_without_end(tmp_path: Path) -> None:
    place = Place("it", "http://127.0.0.1:9", token_file=Path("/dev/zero"))
    tracemalloc.start()
    try:
        with pytest.raises(LocalFailure, match="the token cannot be sent"):
            ask(place)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


class Authority:
    """A CA, and what it signs: a certificate with its key, in PEM."""

    def __init__(self) -> None:
        self._key, self._now = signing.new_key(), datetime.now(UTC)
        self._certificate = signing.authority("tests", self._key, self._now, timedelta(days=1))
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def signed(self, use: x509.ObjectIdentifier, *hosts: str) -> tuple[bytes, bytes]:
        key, issuer = signing.new_key(), (self._certificate, self._key)
        names = [x509.DNSName(host) for host in hosts]
        made = signing.leaf("someone", key, issuer, [use], names, self._now, timedelta(days=1))
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return made.public_bytes(pem), key.private_bytes(pem, form, serialization.NoEncryption())


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(authority: Authority, tmp_path: Path) -> Iterator[FakeApiServer]:
    """One that has a certificate for cluster.test, and serves only people with one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "pair").write_bytes(b"".join(authority.signed(ExtendedKeyUsageOID.SERVER_AUTH, "cluster.test")))
    context.load_cert_chain(tmp_path / "pair")
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with FakeApiServer().serving(context) as served:
        yield served


def test_certificates_of_both_sides(secure: FakeApiServer, authority: Authority) -> None:
    certificate, key = authority.signed(ExtendedKeyUsageOID.CLIENT_AUTH)
    place = Place("it", secure.url, authority=authority.pem, certificate=certificate, key=key)
    place = replace(place, server_name="cluster.test")
    ask(place)
    ask(replace(place, authority=b"", insecure=True, server_name=""))
    for wrong in ({"server_name": ""}, {"authority": Authority().pem}, {"authority": b""}):
        with pytest.raises(ApiUnreachable, match="cannot be trusted"):
            ask(replace(place, **wrong))
    with pytest.raises(ApiUnreachable):
        ask(replace(place, certificate=b"", key=b""))
    assert len(secure.requests) == 2


def test_a_certificate_of_a_program(secure: FakeApiServer, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.signed(ExtendedKeyUsageOID.CLIENT_AUTH)
    status = credential(clientCertificateData=certificate.decode(), clientKeyData=key.decode())
    (tmp_path / "status").write_text(status)
    made = program(tmp_path, f"cat {tmp_path}/status")
    ask(Place("it", secure.url, authority=authority.pem, server_name="cluster.test", program=made))
    assert len(secure.requests) == 1


@contextmanager
def proxy(talk: Callable[[socket.socket], tuple[str, int]]) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """A proxy on a port: after `talk` has learned where to, bytes pass. Yields the port, and where to it was asked."""
    asked: list[tuple[str, int]] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=passed, args=(client,), daemon=True).start()

    def passed(client: socket.socket) -> None:
        with client:
            where = talk(client)
            asked.append(where)
            with socket.create_connection(("127.0.0.1", where[1])) as upstream:
                pairs = {client: upstream, upstream: client}
                while True:
                    for ready in select.select(list(pairs), [], [])[0]:
                        if not (piece := ready.recv(65536)):
                            return
                        pairs[ready].sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1], asked
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def by_connect(client: socket.socket) -> tuple[str, int]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert b"Proxy-Authorization: Basic dTpw\r\n" in head
    host, _, port = head.split(b" ")[1].decode().rpartition(":")
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return host, int(port)


def by_socks(client: socket.socket) -> tuple[str, int]:
    assert client.recv(3) == b"\x05\x01\x00"
    client.sendall(b"\x05\x00")
    head = client.recv(5)
    assert head[:4] == b"\x05\x01\x00\x03"
    host = client.recv(head[4]).decode()
    port = int.from_bytes(client.recv(2), "big")
    client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
    return host, port


def by_socks_with_a_password(client: socket.socket) -> tuple[str, int]:
    assert client.recv(3) == b"\x05\x01\x02"
    client.sendall(b"\x05\x02")
    assert client.recv(5) == b"\x01\x01u\x01p"
    client.sendall(b"\x01\x00")
    head = client.recv(5)
    host = client.recv(head[4]).decode()
    port = int.from_bytes(client.recv(2), "big")
    client.sendall(b"\x05\x00\x00\x03\x01x\x00\x00")
    return host, port


@pytest.mark.parametrize(
    ("talk", "url"),
    [
        (by_connect, "http://u:p@127.0.0.1"),
        (by_socks, "socks5://127.0.0.1"),
        (by_socks_with_a_password, "socks5h://u:p@127.0.0.1"),
    ],
)
def test_through_a_proxy(
    server: FakeApiServer, talk: Callable[[socket.socket], tuple[str, int]], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = server.url.replace("127.0.0.1", "cluster.test")
    with proxy(talk) as (port, asked):
        ask(Place("it", elsewhere, proxy=f"{url}:{port}"))
        monkeypatch.setenv("http_proxy", f"{url}:{port}")
        ask(Place("it", elsewhere))
        monkeypatch.setenv("no_proxy", "cluster.test")
        with pytest.raises(ApiUnreachable):
            ask(Place("it", elsewhere))
        ask(Place("it", server.url))
    assert asked == [("cluster.test", server.port)] * 2, "none for the machine itself"


def test_a_proxy_that_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ApiUnreachable, match=r"the proxy answers: HTTP/1[.]1 403 Forbidden"):
            ask(Place("it", "http://cluster.test", proxy=url))
        thread.join()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://p:1", "is not supported"),
        ("ftp://p:1", "is not supported"),
        ("http://p:x", "is not a URL"),
        ("http://127.0.0.1:9", "does not respond: Connection refused"),
    ],
)
def test_a_proxy_that_does_not_serve(url: str, said: str) -> None:
    with pytest.raises(LocalFailure, match=said):
        ask(Place("it", "http://cluster.test", proxy=url))


@pytest.mark.parametrize("server", ["ftp://x", "https://", "https://x:y", "https://[::1"])
def test_a_server_that_is_none(server: str) -> None:
    with pytest.raises(LocalFailure, match="it: "):
        ask(Place("it", server))


@pytest.mark.parametrize("place", [{"authority": b"x"}, {"certificate": b"x", "key": b"y"}])
def test_certificates_that_are_none(place: dict[str, bytes]) -> None:
    with pytest.raises(LocalFailure, match="a certificate or key of the context"):
        ask(Place("it", "https://127.0.0.1:9", **place))  # type: ignore[arg-type]
