"""What registries do wrong, how they ask who one is, and what they are never told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from stromboli import registries as module
from stromboli.errors import RegistryError
from stromboli.grammar.reference import Reference, parse
from stromboli.keys import contexts
from stromboli.keys.certificates import Subject, new_authority, new_leaf
from stromboli.podman.registries_conf import Endpoint, Mirror, RegistriesConf, Registry
from stromboli.registries import Manifest, Registries
from stromboli.registry_credentials import Credentials, IdentityToken, Login
from stromboli.registry_problem import RegistryProblem

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BODY = b'{"schemaVersion":2}'
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
LOGIN = Login("reader", "open sesame")
REFRESH = IdentityToken("refresh-me")

Answering = Callable[[web.Request], web.StreamResponse]


class Server:
    """A server on loopback whose answers to manifest requests a test gives; `asked` has all requests."""

    def __init__(self) -> None:
        self.answer: Answering = lambda _: manifest()
        self.token: Answering = lambda _: web.json_response({"token": "a.token"})
        self.streamed: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.asked: list[tuple[web.Request, str]] = []
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def image(self, end: str = ":1") -> Reference:
        return parse(f"{self.address}/team/tool{end}")

    def conf(self, **more: Any) -> RegistriesConf:
        entry: dict[str, Any] = {
            "insecure": True,
            "blocked": False,
            "mirrors": (),
            "mirror_by_digest_only": False,
        } | more
        return RegistriesConf(registries=(Registry(self.address, self.address, **entry),))

    @property
    def authorizations(self) -> list[str | None]:
        return [request.headers.get("Authorization") for request, _ in self.asked]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request, await request.text()))
        if self.streamed is not None:
            return await self.streamed(request)
        return self.token(request) if request.path == "/token" else self.answer(request)


def manifest(body: bytes = BODY, kind: str = MANIFEST, digest: str = "") -> web.Response:
    said = digest or f"sha256:{hashlib.sha256(body).hexdigest()}"
    return web.Response(body=body, headers={"Content-Type": kind, "Docker-Content-Digest": said})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def registries() -> AsyncIterator[Registries]:
    async with Registries() as made:
        yield made


async def problem(registries: Registries, server: Server, end: str = ":1", whole: bool = False) -> RegistryError:
    ask = registries.manifest if whole else registries.digest
    with pytest.raises(RegistryError) as caught:
        await ask(server.image(end), server.conf(), LOGIN)
    assert LOGIN.password not in str(caught.value)
    return caught.value


# --- what goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, RegistryProblem.DENIED),
        (403, RegistryProblem.DENIED),
        (404, RegistryProblem.NOT_FOUND),
        (429, RegistryProblem.RATE_LIMITED),
        (500, RegistryProblem.UNAVAILABLE),
        (503, RegistryProblem.UNAVAILABLE),
        (418, RegistryProblem.NOT_A_REGISTRY),
    ],
)
async def test_the_status_decides(registries: Registries, server: Server, status: int, kind: RegistryProblem) -> None:
    server.answer = lambda _: web.Response(status=status, text="open sesame", headers={"X": "open sesame"})
    for whole in (False, True):
        assert (await problem(registries, server, whole=whole)).problem is kind


def _date(left: timedelta) -> str:
    return format_datetime(datetime.now(UTC) + left, usegmt=True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("999999999", module.LONGEST_WAIT),
        # Two workers collect at different times, and have to find the same tests.
        pytest.param(_date(timedelta(hours=20)), module.LONGEST_WAIT, id="later"),
        pytest.param(_date(timedelta(hours=-20)), 0.0, id="earlier"),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("-5", None),
        ("9" * 400, module.LONGEST_WAIT),
        ("", None),
    ],
)
async def test_how_long_a_registry_wants_one_to_wait(
    registries: Registries, server: Server, said: str, seconds: float | None
) -> None:
    server.answer = lambda _: web.Response(status=429, headers={"Retry-After": said})
    assert (await problem(registries, server)).retry_after == seconds


async def test_a_page_is_no_registry(registries: Registries, server: Server) -> None:
    server.answer = lambda _: web.Response(text="<html>log in</html>", content_type="text/html")
    for whole in (False, True):
        found = await problem(registries, server, whole=whole)
        assert found.problem is RegistryProblem.NOT_A_REGISTRY
        assert str(found) == f"{server.address} does not answer as a registry does: HTTP 200, text/html"


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b"null", b'"x"', b'{"manifests":7}', b'{"manifests":[7]}', b"[" * 100_000, b"{}"],
)
async def test_nonsense_is_no_registry(registries: Registries, server: Server, body: bytes) -> None:
    server.answer = lambda _: manifest(body, INDEX)
    found = await problem(registries, server, whole=True)
    assert found.problem is RegistryProblem.NOT_A_REGISTRY


async def test_what_is_too_large_is_not_read_to_its_end(registries: Registries, server: Server) -> None:
    server.answer = lambda _: manifest(b" " * (module.MANIFEST.size + 1))
    assert "more than" in str(await problem(registries, server, whole=True))
    server.answer = challenge(server)
    server.token = lambda _: web.Response(body=b" " * (module.TOKEN.size + 1))
    assert "more than" in str(await problem(registries, server))


async def test_many_large_answers_do_not_fill_the_memory(registries: Registries, server: Server) -> None:
    """As those of a registry that belongs to a tenant with many AgentImages. The failures are kept, as by a job."""
    piece = b" " * (64 * 1024)

    async def send(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MANIFEST})
        await response.prepare(request)
        if request.method == "GET":
            for _ in range(module.MANIFEST.size // len(piece)):
                await response.write(piece)
                await asyncio.sleep(0)
        return response

    server.streamed = send
    tracemalloc.start()
    try:
        asked = (registries.digest(server.image(f":{n}"), server.conf()) for n in range(12))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {type(answer) for answer in answers} == {RegistryError}, "spaces are no manifest"
    assert peak < 3 * module.LARGE_AT_ONCE * module.MANIFEST.size + 12 * 2 * module.USUAL


async def test_a_manifest_of_another_digest(registries: Registries, server: Server) -> None:
    other = f"@sha256:{'0' * 64}"
    for whole in (False, True):
        assert (await problem(registries, server, other, whole)).problem is RegistryProblem.DIGEST_MISMATCH
    # What the registry says about itself does not count where it sends all of it.
    server.answer = lambda _: manifest(digest=other[1:])
    assert (await problem(registries, server, other, whole=True)).problem is RegistryProblem.DIGEST_MISMATCH


async def test_a_registry_that_is_away(registries: Registries, server: Server) -> None:
    await server.stop()
    found = await problem(registries, server)
    assert found.problem is RegistryProblem.UNAVAILABLE
    assert str(found).startswith(f"{server.address} cannot be reached: ")


async def test_a_registry_that_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody reads
        server.address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with Registries() as registries:
            assert (await problem(registries, server)).problem is RegistryProblem.UNAVAILABLE


async def test_a_blocked_registry_is_not_asked(registries: Registries, server: Server) -> None:
    with pytest.raises(RegistryError, match=r"registries\.conf of the node blocks") as caught:
        await registries.digest(server.image(), server.conf(blocked=True))
    assert caught.value.problem is RegistryProblem.DENIED
    assert server.asked == []


async def test_http_is_used_only_where_it_is_allowed(registries: Registries, server: Server) -> None:
    with pytest.raises(RegistryError) as caught:
        await registries.digest(server.image(), server.conf(insecure=False))
    assert caught.value.problem is RegistryProblem.UNAVAILABLE
    assert server.asked == []


# --- what is found -----------------------------------------------------------------------------------------


async def test_without_the_header_the_digest_is_that_of_what_is_sent(registries: Registries, server: Server) -> None:
    server.answer = lambda _: web.Response(body=BODY, headers={"Content-Type": MANIFEST})
    assert await registries.digest(server.image(), server.conf()) == DIGEST
    assert [request.method for request, _ in server.asked] == ["HEAD", "GET"]


async def test_the_platforms_of_an_index(registries: Registries, server: Server) -> None:
    body = b"""{"schemaVersion": 2, "manifests": [
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {"platform": {"os": "linux\\u001b[2J", "architecture": "amd64"}},
        {"digest": "sha256:x"}
    ]}"""
    server.answer = lambda _: manifest(body, INDEX)
    found = await registries.manifest(server.image(), server.conf())
    assert found == Manifest(f"sha256:{hashlib.sha256(body).hexdigest()}", ("linux/amd64", "linux/arm64/v8"))


async def test_the_first_mirror_that_has_it_answers(registries: Registries, server: Server) -> None:
    away, without, mirror = (Mirror(f"{where}", True, "") for where in ("127.0.0.1:1", server.address, server.address))
    without = Mirror(f"{server.address}/without", True, "")
    server.answer = lambda request: web.Response(status=404) if "without" in request.path else manifest()
    conf = server.conf(mirrors=(away, without, mirror))
    assert await registries.digest(server.image(), conf) == DIGEST
    assert [request.path.split("/manifests")[0] for request, _ in server.asked] == [
        "/v2/without/team/tool",
        "/v2/team/tool",
    ]


async def test_the_environments_proxy_is_used(
    registries: Registries, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = RegistriesConf(registries=(Registry("away.invalid", "away.invalid", True, False, (), False),))
    away = parse("away.invalid/team/tool:1")
    monkeypatch.setenv("http_proxy", f"http://{server.address}")
    assert await registries.digest(away, conf) == DIGEST
    assert [request.headers["Host"] for request, _ in server.asked] == ["away.invalid"]
    monkeypatch.setenv("no_proxy", "other.test,.invalid")
    with pytest.raises(RegistryError, match=r"away\.invalid cannot be reached"):
        await registries.digest(away, conf)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await registries.digest(server.image(), server.conf()) == DIGEST, "there is none for this machine"


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://quay.io/v2/", True),
        ("https://quay.io:5000/v2/", True),
        ("https://127.0.0.1:5000/v2/", False),
        ("https://[::1]:5000/v2/", False),
        ("https://[2001:db8::1]/v2/", True),
        ("https://localhost:5000/v2/", False),
        ("https://localhost.test/v2/", True),
        ("http://quay.io/v2/", False),
        ("/token", False),
    ],
)
def test_for_what_there_is_a_proxy(url: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    assert module._proxy(url) == ("http://proxy.test:3128" if used else None)


# --- who one is --------------------------------------------------------------------------------------------


def challenge(server: Server, kind: str = "Bearer", realm: str = "") -> Answering:
    """Asks who one is until the right answer comes."""
    fields = f'realm="{realm or f"http://{server.address}/token"}",service="registry.test",scope="repository:*:push"'
    said = f"Bearer {fields}" if kind == "Bearer" else 'Basic realm="x"'
    basic = f"Basic {base64.b64encode(b'reader:open sesame').decode()}"
    right = "Bearer a.token" if kind == "Bearer" else basic

    def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == right:
            return manifest()
        return web.Response(status=401, headers={"WWW-Authenticate": said})

    return answer


async def test_a_login_is_given_where_it_is_asked_for(registries: Registries, server: Server) -> None:
    server.answer = challenge(server, "Basic")
    assert await registries.digest(server.image(), server.conf(), LOGIN) == DIGEST
    assert server.authorizations[0] is None, "and not before"


@pytest.mark.parametrize("credentials", [None, LOGIN, REFRESH])
async def test_a_token_to_read_this_repository(
    registries: Registries, server: Server, credentials: Credentials | None
) -> None:
    server.answer = challenge(server)
    assert await registries.digest(server.image(), server.conf(), credentials) == DIGEST
    (token, form) = next(each for each in server.asked if each[0].path == "/token")
    said = dict(token.query) if token.method == "GET" else {name: each[0] for name, each in parse_qs(form).items()}
    assert said["scope"] == "repository:team/tool:pull"
    assert said["service"] == "registry.test"
    match credentials:
        case None:
            assert (token.method, token.headers.get("Authorization")) == ("GET", None)
        case Login():
            assert token.headers["Authorization"].startswith("Basic ")
        case IdentityToken():
            assert (token.method, said["grant_type"], said["refresh_token"]) == ("POST", "refresh_token", "refresh-me")


async def test_a_long_challenge_takes_moments(registries: Registries, server: Server) -> None:
    """The operator does nothing else meanwhile."""
    said = "Bearer " + "a" * 8000
    server.answer = lambda _: web.Response(status=401, headers={"WWW-Authenticate": said})
    began = time.process_time()
    assert (await problem(registries, server)).problem is RegistryProblem.NOT_A_REGISTRY
    assert time.process_time() - began < 0.5


async def test_a_token_of_the_other_name(registries: Registries, server: Server) -> None:
    server.answer, server.token = challenge(server), lambda _: web.json_response({"access_token": "a.token"})
    assert await registries.digest(server.image(), server.conf()) == DIGEST


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (lambda: web.Response(status=401), RegistryProblem.DENIED),
        (lambda: web.json_response({"token": "of no use"}), RegistryProblem.NOT_A_REGISTRY),
        (lambda: web.json_response({"token": "of.no.use"}), RegistryProblem.DENIED),
        (lambda: web.json_response({"token": "a\r\nHost: b"}), RegistryProblem.NOT_A_REGISTRY),
        (lambda: web.json_response([]), RegistryProblem.NOT_A_REGISTRY),
        (lambda: web.json_response({}), RegistryProblem.NOT_A_REGISTRY),
        (lambda: web.Response(text="<html>"), RegistryProblem.NOT_A_REGISTRY),
        (lambda: web.Response(status=500), RegistryProblem.UNAVAILABLE),
    ],
)
async def test_a_token_that_is_none(
    registries: Registries, server: Server, token: Callable[[], web.Response], kind: RegistryProblem
) -> None:
    server.answer, server.token = challenge(server), lambda _: token()
    assert (await problem(registries, server)).problem is kind


@pytest.mark.parametrize("realm", ["ftp://x.test/token", "/token", "file:///etc/passwd", "https://["])
async def test_a_place_for_tokens_that_is_none(registries: Registries, server: Server, realm: str) -> None:
    server.answer = challenge(server, realm=realm)
    await problem(registries, server)
    assert not any(request.path == "/token" for request, _ in server.asked)


async def test_a_redirect_takes_no_credentials_along(registries: Registries, server: Server) -> None:
    elsewhere = Server()
    await elsewhere.start()
    away = f"http://{elsewhere.address}/v2/team/tool/manifests/1"
    asks = challenge(server, "Basic")

    def answer(request: web.Request) -> web.StreamResponse:
        return (
            asks(request)
            if "Authorization" not in request.headers
            else web.Response(status=307, headers={"Location": away})
        )

    server.answer = answer
    assert await registries.digest(server.image(), server.conf(), LOGIN) == DIGEST
    assert elsewhere.authorizations == [None]
    server.answer = challenge(server)
    server.token = lambda _: web.Response(status=307, headers={"Location": f"http://{elsewhere.address}/token"})
    for credentials in (LOGIN, REFRESH):
        with pytest.raises(RegistryError):
            await registries.digest(server.image(), server.conf(), credentials)
    assert len(elsewhere.asked) == 1
    await elsewhere.stop()


async def test_a_mirror_is_given_no_credentials(registries: Registries, server: Server) -> None:
    server.answer = challenge(server, "Basic")
    conf = RegistriesConf(
        registries=(Registry("named.test", "named.test", False, False, (Mirror(server.address, True, ""),), False),)
    )
    with pytest.raises(RegistryError, match=r"named\.test cannot be reached"):
        await registries.digest(parse("named.test/team/tool:1"), conf, LOGIN)
    assert server.authorizations == [None]


@pytest.mark.parametrize("back", [False, True])
async def test_no_redirect_leads_from_https_to_http(registries: Registries, server: Server, back: bool) -> None:
    """Not even if it leads back: whoever is on the way may have chosen where to."""
    secure, authority = Server(), await new_authority()
    leaf = await new_leaf(authority, Subject("registry", ("127.0.0.1",), client=False))
    await secure.start(contexts.server(leaf, "", required=False))
    path = "/v2/team/tool/manifests"
    server.answer = lambda _: (
        web.Response(status=307, headers={"Location": f"https://{secure.address}{path}/2"}) if back else manifest()
    )
    secure.answer = lambda request: (
        manifest()
        if request.path.endswith("/2")
        else web.Response(status=307, headers={"Location": f"http://{server.address}{path}/2"})
    )
    with pytest.raises(RegistryError, match="redirects from https to http"):
        await _only_https(registries, secure)
    await secure.stop()


async def _only_https(registries: Registries, server: Server) -> None:
    asking = module._Asking(
        registries._session,
        registries._large,
        Endpoint(server.address, "team/tool", insecure=True, own=True),
        server.image(),
        None,
    )
    await asking._call("GET", f"https://{server.address}/v2/team/tool/manifests/1")
