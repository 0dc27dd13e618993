"""The gateway with the roles of manifests/ behind a real API server; operators answer as a test says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.errors import ClusterUnavailable, Conflict
from stromboli.gateway.process import LIMITS
from stromboli.keys.certificates import Authority
from stromboli.kube import wire
from stromboli.kube.plain import Plain
from stromboli.kube.system import System
from stromboli.naming import AGENTS_API, API_SERVICE, GATEWAY_KEYS, OPERATORS
from tests.support import people
from tests.support.cluster import Kubectl
from tests.support.gateways import GatewayProcess, apply, node_operator, publish, registration, running_gateway, until

ROOT = Path(__file__).parent.parent.parent
SYSTEM = "stromboli-system"
LIMIT = 60.0
MIB = 1 << 20
pytestmark = pytest.mark.usefixtures("registered")


@dataclass
class Bed:
    """The gateway, and people who ask by the API server."""

    cluster: Cluster
    admin: Kubectl
    gateway: GatewayProcess
    programs: Binaries
    begun: int = 0  # length of the API server's log when the group was available

    def api_server_log(self) -> str:
        return (self.cluster.kubeconfig.parent / "kube-apiserver.log").read_text()

    @property
    def pki(self) -> Path:
        return self.cluster.kubeconfig.parent / "pki"

    @property
    def authority(self) -> Authority:
        """The CA that the gateway has created."""
        data = json.loads(self.admin("-n", SYSTEM, "get", "secret", GATEWAY_KEYS, "-o", "json"))["data"]
        return Authority(*(base64.b64decode(data[key]).decode() for key in ("ca.crt", "ca.key")))

    def raw(self, path: str, who: Kubectl | None = None) -> str:
        return (who or self.admin)("get", "--raw", AGENTS_API + path)

    def refused(self, path: str, who: Kubectl | None = None) -> str:
        done = (who or self.admin).attempt("get", "--raw", AGENTS_API + path)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def may(self, path: str, who: Kubectl) -> bool:
        return who.attempt("get", "--raw", AGENTS_API + path).returncode == 0

    def run(self, namespace: str, name: str, node: str) -> str:
        """An AgentRun on a node; its UID."""
        body = {"apiVersion": "stromboli.dev/v1alpha1", "kind": "AgentRun", "spec": {"prompt": "hello"}}
        apply(self.admin, {**body, "metadata": {"name": name, "namespace": namespace}})
        if node:
            patch = json.dumps({"status": {"node": node}})
            self.admin("-n", namespace, "patch", "agentrun", name, "--subresource=status", "--type=merge", "-p", patch)
        return self.admin("-n", namespace, "get", "agentrun", name, "-o", "jsonpath={.metadata.uid}")


@pytest.fixture(scope="module")
def bed(own: Cluster, admin: Kubectl, programs: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    admin("apply", "-k", str(ROOT / "crds"))
    admin("apply", "-f", str(ROOT / "manifests/namespace.yaml"), "-f", str(ROOT / "manifests/rbac.yaml"))
    folder = tmp_path_factory.mktemp("gateway")
    token = admin("-n", SYSTEM, "create", "token", "stromboli-gateway", "--duration=1h").strip()
    kubeconfig = own.kubeconfig_for(token, folder / "kubeconfig")
    with running_gateway(kubeconfig, SYSTEM, folder / "gateway.log") as gateway:
        yield Bed(own, admin, gateway, programs)


@pytest.fixture(scope="module")
def registered(bed: Bed) -> None:
    """The API server has asked the gateway by the CA that the gateway wrote into the APIService."""
    apply(bed.admin, *registration(SYSTEM, bed.gateway.port))
    bed.admin("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=25s")
    until(lambda: bed.admin.attempt("get", "--raw", AGENTS_API).returncode == 0, "the API server serves the group")
    bed.begun = len(bed.api_server_log())


@pytest.fixture
def space(bed: Bed) -> str:
    name = f"space-{uuid.uuid4().hex[:12]}"
    bed.admin("create", "namespace", name)
    return name


@contextlib.contextmanager
def operators(bed: Bed, **handlers: Any) -> Iterator[dict[str, str]]:
    """Operators by node, in a thread with an event loop of its own; their addresses are published."""
    started, stop = threading.Event(), asyncio.Event()
    addresses: dict[str, str] = {}
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for node, handler in handlers.items():
                addresses[node] = await stack.enter_async_context(node_operator(bed.authority, node, handler))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(LIMIT)
        publish(bed.admin, SYSTEM, addresses)
        yield addresses
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LIMIT)
        loop.close()
        bed.admin("-n", SYSTEM, "delete", "configmap", OPERATORS, "--ignore-not-found")


async def told(request: web.Request) -> web.Response:
    """What an operator is asked."""
    headers = {"Stromboli-State": "ended", "X-Secret": "stays"}
    return web.json_response({"asked": request.path_qs, "headers": sorted(request.headers)}, headers=headers)


# --- trust ---


async def direct(bed: Bed, path: str, pair: tuple[bytes, bytes] | None = None, **headers: str) -> tuple[int, Any]:
    """The answer to whoever asks the gateway itself, with a client certificate or without."""
    context = ssl.create_default_context(cadata=bed.authority.certificate)
    if pair is not None:
        file = bed.gateway.log.parent / "pair.pem"
        file.write_bytes(b"".join(pair))
        context.load_cert_chain(file)
    async with aiohttp.ClientSession() as session:
        url = f"https://localhost:{bed.gateway.port}{path}"
        async with session.get(url, ssl=context, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if path.startswith("/apis") else answer.status


@pytest.mark.parametrize("path", ["/apis", AGENTS_API, f"{AGENTS_API}/namespaces/a/agentruns/b/log", "/apis/nothing"])
async def test_without_the_front_proxys_certificate_nothing_is_served(bed: Bed, path: str) -> None:
    forged = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    for headers in ({}, forged):
        status, answer = await direct(bed, path, None, **headers)
        assert (status, answer["kind"], answer["reason"]) == (401, "Status", "Unauthorized")
        assert "client certificate of the API server's front proxy" in answer["message"]


async def test_a_certificate_of_the_front_proxys_ca_with_another_name_is_nobodys(bed: Bed) -> None:
    pair = people.client_certificate(bed.pki, "front-proxy-ca", "somebody")
    status, answer = await direct(bed, AGENTS_API, pair, **{"X-Remote-User": "admin"})
    assert (status, answer["reason"]) == (401, "Unauthorized")
    assert "none of the names" in answer["message"]
    pair = people.client_certificate(bed.pki, "front-proxy-ca", "front-proxy-client")
    assert (await direct(bed, AGENTS_API, pair))[0] == 401, "it names no user"
    assert (await direct(bed, AGENTS_API, pair, **{"X-Remote-User": "ada"}))[0] == 200


@pytest.mark.parametrize("authority", ["ca", "client-ca"])
async def test_a_certificate_of_another_ca_is_not_even_connected(bed: Bed, authority: str) -> None:
    pair = people.client_certificate(bed.pki, authority, "front-proxy-client")
    with pytest.raises(aiohttp.ClientError):
        await direct(bed, AGENTS_API, pair, **{"X-Remote-User": "admin"})


async def test_who_looks_after_it_needs_no_certificate(bed: Bed) -> None:
    assert [(await direct(bed, path))[0] for path in ("/healthz", "/readyz")] == [200, 200]


# --- where the operators are ---


@pytest.fixture
async def system(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    """As an operator has it, with the operator's account."""
    token = bed.admin("-n", SYSTEM, "create", "token", "stromboli-operator", "--duration=1h").strip()
    monkeypatch.setenv("KUBECONFIG", str(bed.cluster.kubeconfig_for(token, tmp_path / "kubeconfig")))
    plain = Plain(wire.config())
    yield System(plain, SYSTEM)
    await plain.close()
    bed.admin("-n", SYSTEM, "delete", "configmap", OPERATORS, "--ignore-not-found")


async def test_each_operator_says_where_it_listens_and_leaves_others_alone(bed: Bed, system: System) -> None:
    assert await system.operators() is None
    await system.publish("one", "10.0.0.1:1")
    await system.publish("two.example.org", "[fd00::2]:2")
    await system.publish("one", "10.0.0.1:3")
    assert await system.operators() == {"one": "10.0.0.1:3", "two.example.org": "[fd00::2]:2"}
    version = "jsonpath={.metadata.resourceVersion}"
    before = bed.admin("-n", SYSTEM, "get", "configmap", OPERATORS, "-o", version)
    await system.publish("one", "10.0.0.1:3")
    assert bed.admin("-n", SYSTEM, "get", "configmap", OPERATORS, "-o", version) == before, "it was known"
    empty = json.dumps([{"op": "remove", "path": "/data"}])
    bed.admin("-n", SYSTEM, "patch", "configmap", OPERATORS, "--type=json", "-p", empty)
    assert await system.operators() == {}
    await system.publish("one", "10.0.0.1:3")
    assert await system.operators() == {"one": "10.0.0.1:3"}


async def test_the_keys_are_created_once(bed: Bed, system: System) -> None:
    keys = await system.keys()
    assert keys is not None
    assert keys["ca.crt"].decode() == bed.authority.certificate
    with pytest.raises(Conflict):
        await system.create_keys({"ca.crt": "", "ca.key": ""})
    for elsewhere in (System(system._plain, "nowhere"), System(system._plain, "default")):
        with pytest.raises((Conflict, ClusterUnavailable)):
            await elsewhere.create_keys({"ca.crt": "", "ca.key": ""})


# --- what it says by itself ---


def test_discovery(bed: Bed) -> None:
    listed = bed.admin("api-resources", "--api-group=agents.stromboli.dev", "-o", "name").split()
    assert listed == ["claudestatus.agents.stromboli.dev", "images.agents.stromboli.dev"], (
        "and subresources, which are not listed"
    )
    resources = json.loads(bed.admin("get", "--raw", AGENTS_API))["resources"]
    verbs = {resource["name"]: resource["verbs"] for resource in resources}
    assert verbs == {key: ["get"] for key in ("agentruns/log", "agentsessions/messages", "claudestatus", "images")}


def test_the_api_server_publishes_its_openapi(bed: Bed) -> None:
    path = f"{AGENTS_API}/namespaces/{{namespace}}/agentruns/{{name}}/log"
    v3 = f"/openapi/v3/apis/{AGENTS_API.removeprefix('/apis/')}"
    until(lambda: bed.admin.attempt("get", "--raw", v3).returncode == 0, "OpenAPI v3 has the group")
    assert path in json.loads(bed.admin("get", "--raw", v3))["paths"]
    until(lambda: path in bed.admin("get", "--raw", "/openapi/v2"), "OpenAPI v2 has the paths")
    said = [line for line in bed.api_server_log()[bed.begun :].splitlines() if line.startswith("E")]
    assert [line for line in said if "agents.stromboli.dev" in line and "penapi" in line.lower()] == []


# --- passing on ---


def test_a_request_is_answered_by_the_operator_of_its_node(bed: Bed, space: str) -> None:
    uid = bed.run(space, "here", "one")
    with operators(bed, one=told, two=told):
        path = f"/namespaces/{space}/agentruns/here/log?offset=5&step=postStart%5B0%5D&uid={uid}"
        answer = json.loads(bed.raw(path))
        assert answer["asked"] == AGENTS_API + path
        assert not [name for name in answer["headers"] if name.startswith("X-Remote")], "whoever asks has been judged"
        bed.run(space, "other", "three")
        said = bed.refused(f"/namespaces/{space}/agentruns/other/log")
        assert "the operator of node three has not said where it listens" in said
        assert json.loads(bed.raw(f"/namespaces/{space}/images/search?query=a%20b"))["asked"].endswith("?query=a%20b")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/namespaces/{space}/agentruns/none/log", "has no AgentRun none"),
        ("/namespaces/{space}/agentsessions/none/messages", "has no AgentSession none"),
        ("/namespaces/{space}/agentruns/here/log?uid=other", "is another now"),
        ("/namespaces/{space}/agentruns/here/log?ofset=1", "there is no parameter 'ofset' here"),
        ("/namespaces/{space}/agentruns/here/log?offset=1&offset=2", "is given twice"),
        ("/namespaces/{space}/agentruns/here/shell", "is not served here"),
        ("/namespaces/{space}/images?node=nowhere", "node nowhere has not said where it listens"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_sentence(bed: Bed, space: str, path: str, words: str) -> None:
    bed.run(space, "here", "one")
    assert words in bed.refused(path.format(space=space))


def test_a_run_that_no_operator_has_yet_has_an_empty_log(bed: Bed, space: str) -> None:
    bed.run(space, "new", "")
    assert bed.raw(f"/namespaces/{space}/agentruns/new/log?follow=true") == ""


def test_an_operator_that_is_down_matters_to_its_own_things_only(bed: Bed, space: str) -> None:
    bed.run(space, "up", "one")
    bed.run(space, "down", "two")
    with operators(bed, one=told, two=told) as addresses:
        publish(bed.admin, SYSTEM, {**addresses, "two": "127.0.0.1:1"})
        assert json.loads(bed.raw(f"/namespaces/{space}/agentruns/up/log"))["asked"]
        said = bed.refused(f"/namespaces/{space}/agentruns/down/log")
        assert "ServiceUnavailable" in said
        assert "the operator of node two does not answer" in said
        for _ in range(4):  # of any node, so of the one that answers
            assert json.loads(bed.raw(f"/namespaces/{space}/images"))["asked"]
        # The address of one that is another's is not believed.
        publish(bed.admin, SYSTEM, {**addresses, "two": addresses["one"]})
        assert "does not answer" in bed.refused(f"/namespaces/{space}/agentruns/down/log")


def test_rbac_has_decided_before_the_gateway_is_asked(bed: Bed, space: str, tmp_path: Path) -> None:
    bed.run(space, "here", "one")
    bed.admin("create", "namespace", f"{space}-other")
    bed.run(f"{space}-other", "there", "one")
    ada = Kubectl(bed.programs.kubectl, people.certificate_user(bed.cluster, tmp_path / "ada", "ada"))
    bot = Kubectl(bed.programs.kubectl, people.service_account(bed.admin, bed.cluster, tmp_path / "bot", "bot", space))
    path = f"/namespaces/{space}/agentruns/here/log"
    with operators(bed, one=told):
        assert 'cannot get resource "agentruns/log"' in bed.refused(path, ada)
        for who in ("--user=ada", f"--serviceaccount={space}:bot"):
            name = who.partition("=")[2].replace(":", "-")
            bed.admin("-n", space, "create", "rolebinding", name, "--clusterrole=stromboli-viewer", who)
        for person in (ada, bot):
            until(lambda who=person: bed.may(path, who), "the binding counts")  # type: ignore[misc]
            other = f"/namespaces/{space}-other/agentruns/there/log"
            assert 'cannot get resource "agentruns/log"' in bed.refused(other, person)
            assert "forbidden" in bed.refused(f"/images?namespace={space}", person).lower()
            assert json.loads(bed.raw(f"/namespaces/{space}/images", person))["asked"]


# --- streams ---


class Log:
    """An operator's log that grows: each follower gets what there is from its offset on, and then what comes."""

    def __init__(self) -> None:
        self.content = b""
        self.ended = False
        self.following = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        offset = int(request.query.get("offset", "0"))
        response = web.StreamResponse(headers={"Content-Type": "text/plain", "Stromboli-Offset": str(offset)})
        await response.prepare(request)
        self.following += 1
        try:
            while True:
                if len(self.content) > offset:
                    piece = self.content[offset:]
                    offset += len(piece)
                    await response.write(piece)
                elif self.ended:
                    return response
                await asyncio.sleep(0.005)
        finally:
            self.following -= 1


@pytest.fixture
def api(bed: Bed) -> Callable[..., Any]:
    """Asks the API server as its administrator."""
    config = yaml.safe_load(bed.cluster.kubeconfig.read_bytes())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}"}

    def get(session: aiohttp.ClientSession, path: str) -> Any:
        return session.get(f"{cluster['server']}{AGENTS_API}{path}", ssl=context, headers=headers)

    return get


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as made:
        yield made


async def test_fifty_follow_across_a_gateway_that_is_killed(
    bed: Bed, space: str, api: Callable[..., Any], session: aiohttp.ClientSession
) -> None:
    """Each goes on at its offset, and gets every byte once."""
    bed.run(space, "long", "one")
    log = Log()
    log.content = b"first\n"
    path = f"/namespaces/{space}/agentruns/long/log?follow=true&offset="
    begun: list[int] = []

    async def follow(number: int) -> bytes:
        found = b""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with api(session, f"{path}{len(found)}") as answer:
                    if answer.status == 200:
                        async for piece in answer.content.iter_any():
                            found += piece
                            begun.append(number)
                        if found.endswith(b"last\n"):
                            return found
            await asyncio.sleep(0.1)

    with operators(bed, one=log.handle):
        async with asyncio.timeout(LIMIT):
            before = bed.gateway.memory
            following = [asyncio.create_task(follow(number)) for number in range(50)]
            while len(set(begun)) < 50:  # noqa: ASYNC110 - what they have read is counted nowhere else
                await asyncio.sleep(0.02)
            grown = bed.gateway.memory - before
            assert grown < 20 * MIB, f"50 followers cost the gateway {grown / MIB:.1f} MiB"
            await asyncio.to_thread(bed.gateway.kill)
            log.content += b"second\n"
            await asyncio.to_thread(bed.gateway.start)
            log.content += b"last\n"
            log.ended = True
            assert set(await asyncio.gather(*following)) == {b"first\nsecond\nlast\n"}


async def test_a_client_that_is_gone_is_no_longer_followed_for(
    bed: Bed, space: str, api: Callable[..., Any], session: aiohttp.ClientSession
) -> None:
    bed.run(space, "silent", "one")
    log = Log()
    log.content = b"x"
    with operators(bed, one=log.handle):
        async with asyncio.timeout(LIMIT), api(session, f"/namespaces/{space}/agentruns/silent/log?follow=true") as one:
            assert await one.content.readany() == b"x"
            assert log.following == 1
        async with asyncio.timeout(LIMIT):
            while log.following:  # noqa: ASYNC110 - it says so to nobody
                await asyncio.sleep(0.02)


async def test_whoever_takes_all_connections_does_not_keep_the_api_server_out(
    bed: Bed, api: Callable[..., Any], session: aiohttp.ClientSession
) -> None:
    context = ssl.create_default_context(cadata=bed.authority.certificate)
    bed.gateway.kill()  # and with it the connections that the API server has
    bed.gateway.start()
    loop, where = asyncio.get_running_loop(), ("localhost", bed.gateway.port)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(LIMITS.most):
            taken, _ = await loop.create_connection(asyncio.Protocol, *where, ssl=context)
            stack.callback(taken.abort)
        async with asyncio.timeout(5.0):
            for _ in range(10):
                async with api(session, "") as answer:
                    assert answer.status == 200


async def test_what_an_operator_writes_arrives_at_once(
    bed: Bed, space: str, api: Callable[..., Any], session: aiohttp.ClientSession
) -> None:
    bed.run(space, "live", "one")
    log = Log()
    log.content = b"0"
    with operators(bed, one=log.handle):
        async with asyncio.timeout(LIMIT), api(session, f"/namespaces/{space}/agentruns/live/log?follow=true") as live:
            assert await live.content.readany() == b"0"
            for number in range(1, 20):
                began = time.monotonic()
                log.content += b"%d" % (number % 10)
                assert await live.content.readany() == b"%d" % (number % 10)
                assert time.monotonic() - began < 2.0


# --- namespaces ---


def test_a_namespace_goes_while_operators_are_down_and_the_gateway_restarts(bed: Bed, space: str) -> None:
    bed.run(space, "here", "nowhere")
    bed.admin("delete", "namespace", space, "--timeout=25s")
    bed.admin("create", "namespace", f"{space}-b")
    bed.run(f"{space}-b", "here", "nowhere")
    bed.gateway.kill()
    bed.admin("delete", "namespace", f"{space}-b", "--wait=false")
    bed.gateway.start()
    bed.admin("wait", "--for=delete", f"namespace/{space}-b", "--timeout=28s")


def test_it_ends_by_a_signal(bed: Bed) -> None:
    assert bed.gateway.stop() == 0
    bed.gateway.start()
