"""Pulls on both Podmans: progress, logins, platforms and silence; and the real one's words for what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.errors import PullFailed, Pulling
from stromboli.grammar.reference import parse
from stromboli.node.access import Access
from stromboli.node.pulls import Pulls
from stromboli.podman import Podman, pulls
from stromboli.podman.pulls import PullProgress
from stromboli.registries import Registries
from stromboli.registry_credentials import IdentityToken, Login
from stromboli.registry_problem import RegistryProblem
from tests.support.fake_podman import FakePodman
from tests.support.fake_registry import FakeRegistry
from tests.support.podman import IsolatedPodman
from tests.support.registry import LOGIN, Registry

LIMIT = 60.0
SIZE = 2 << 20


@dataclass(frozen=True, slots=True)
class Pulled:
    """One Podman, and references: `tool` is open to all, `secret` to LOGIN, `large` takes a while, and `index` has an
    image for `linux/arm64` alone.
    """

    podman: Podman
    tool: str
    secret: str
    large: str
    index: str
    stall: Callable[[], None]


@pytest.fixture
async def really(
    registries_client: Podman,
    registry_podman: IsolatedPodman,
    open_registry: Registry,
    closed_registry: Registry,
    registry_address: str,
) -> AsyncIterator[Pulled]:
    registry_podman.run("rmi", "--all", "--force")
    async with FakeRegistry(registry_address) as served:
        served.publish("team/large", "1", size=SIZE)
        served.drip(2.5)  # Podman reports progress once a second
        arm = served.publish("team/index", "arm", size=10, architecture="arm64")
        served.publish_index("team/index", "1", {"linux/arm64": arm})
        yield Pulled(
            registries_client,
            f"{open_registry.address}/team/tool:1",
            f"{closed_registry.address}/secret/tool:1",
            f"{registry_address}/team/large:1",
            f"{registry_address}/team/index:1",
            served.stall,
        )


@pytest.fixture
async def falsely(fake: FakePodman) -> AsyncIterator[Pulled]:
    root = fake.images[0].root
    names = ("open.test/team/tool:1", "closed.test/secret/tool:1", "registry.test/team/large:1")
    fake.registry = {name: fake.image(name, root=root) for name in names}
    fake.registry["registry.test/team/index:1"] = {"linux/arm64": fake.image("registry.test/team/index:1", root=root)}
    fake.logins = {"closed.test": [{"username": LOGIN.user, "password": LOGIN.password}]}
    async with Podman(fake.socket) as podman:
        yield Pulled(podman, *names, "registry.test/team/index:1", lambda: fake.stalled.add(names[2]))


@pytest.fixture(params=["falsely", "really"])
def pulled(request: pytest.FixtureRequest) -> Pulled:
    found: Pulled = request.getfixturevalue(request.param)
    return found


async def test_progress_is_in_bytes_and_layers(pulled: Pulled) -> None:
    told: list[PullProgress] = []
    async with asyncio.timeout(LIMIT):
        await pulled.podman.images.pull(pulled.large, told.append)
    fetched = [each.fetched for each in told if each.size]
    assert fetched == sorted(fetched)
    assert len(fetched) > 1
    assert (told[-1].fetched, told[-1].complete) == (told[-1].size, told[-1].layers)
    assert SIZE <= told[-1].size < SIZE + 100_000
    assert str(told[-1]).startswith("2.0 of 2.0 MiB, ")


async def test_who_has_no_login_is_refused(pulled: Pulled) -> None:
    for credentials in (None, Login(LOGIN.user, "let me in"), Login("stranger", LOGIN.password)):
        with pytest.raises(PullFailed, match="unauthorized") as caught:
            await pulled.podman.images.pull(pulled.secret, credentials=credentials)
        assert caught.value.problem is RegistryProblem.DENIED
        assert "let me in" not in str(caught.value)
    assert await pulled.podman.images.inspect(pulled.secret) is None


async def test_a_login_in_the_call_opens_the_registry_for_this_call(pulled: Pulled) -> None:
    async with asyncio.timeout(LIMIT):
        image = await pulled.podman.images.pull(pulled.secret, credentials=LOGIN)
    assert image.repo_tags == (pulled.secret,)
    with pytest.raises(PullFailed):
        await pulled.podman.images.pull(pulled.secret)


async def test_no_login_is_in_the_services_log(
    registries_client: Podman, registry_podman: IsolatedPodman, closed_registry: Registry
) -> None:
    await registries_client.images.pull(f"{closed_registry.address}/secret/tool:1", credentials=LOGIN)
    said = registry_podman.log.read_text(errors="replace")
    assert closed_registry.address in said
    assert LOGIN.password not in said


async def test_a_platform_is_taken_from_an_index(pulled: Pulled) -> None:
    with pytest.raises(PullFailed) as caught:
        await pulled.podman.images.pull(pulled.index, platform="linux/s390x")
    assert caught.value.problem is RegistryProblem.NO_PLATFORM
    assert "s390x" in str(caught.value)
    async with asyncio.timeout(LIMIT):
        image = await pulled.podman.images.pull(pulled.index, platform="linux/arm64")
    assert image.repo_tags == (pulled.index,)


async def test_a_registry_that_falls_silent_in_a_layer_is_given_up(
    pulled: Pulled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "FETCHING", 2.0)
    pulled.stall()
    with pytest.raises(PullFailed, match="nothing came from its registry for 2 s") as caught:
        async with asyncio.timeout(LIMIT):
            await pulled.podman.images.pull(pulled.large)
    assert caught.value.problem is RegistryProblem.SILENT
    assert not caught.value.permanent


async def test_a_mirror_of_the_hub_has_its_images(registries_client: Podman, registry_podman: IsolatedPodman) -> None:
    image = await registries_client.images.pull("docker.io/library/python:3")
    assert "docker.io/library/python:3" in image.repo_tags


PROBLEMS: dict[str, tuple[RegistryProblem, Callable[[FakeRegistry, str], None]]] = {
    "a page": (RegistryProblem.NOT_A_REGISTRY, lambda registry, _: registry.answer_with_a_page()),
    "a page with an error": (RegistryProblem.UNAVAILABLE, lambda registry, _: registry.answer_with_a_page(502)),
    "a manifest of another digest": (RegistryProblem.DIGEST_MISMATCH, lambda registry, image: registry.corrupt(image)),
    "a layer of another digest": (
        RegistryProblem.DIGEST_MISMATCH,
        lambda registry, image: registry.corrupt(image, layer=True),
    ),
    "a layer that is cut": (RegistryProblem.CUT, lambda registry, _: registry.tear()),
    "an internal error": (RegistryProblem.UNAVAILABLE, lambda registry, _: registry.refuse(500, "UNKNOWN")),
    "no such manifest": (RegistryProblem.NOT_FOUND, lambda registry, _: registry.refuse(404, "MANIFEST_UNKNOWN")),
    "unauthorized": (RegistryProblem.DENIED, lambda registry, _: registry.refuse(401, "UNAUTHORIZED")),
    "denied": (RegistryProblem.DENIED, lambda registry, _: registry.refuse(403, "DENIED")),
    # Podman itself asks five times, at intervals that the registry says.
    "too many requests": (
        RegistryProblem.RATE_LIMITED,
        lambda registry, _: registry.refuse(429, "TOOMANYREQUESTS", {"Retry-After": "1"}),
    ),
}


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_each_problem_is_told_by_its_kind(registries_client: Podman, registry_address: str, problem: str) -> None:
    kind, cause = PROBLEMS[problem]
    async with FakeRegistry(registry_address) as registry:
        name = f"team/{problem.replace(' ', '-')}"
        digest = registry.publish(name, "1", size=SIZE)
        cause(registry, digest)
        # That a manifest has another digest is seen only where one is asked for.
        end = f"@{digest}" if "manifest of" in problem else ":1"
        with pytest.raises(PullFailed) as caught:
            async with asyncio.timeout(LIMIT):
                await registries_client.images.pull(f"{registry_address}/{name}{end}")
    assert caught.value.problem is kind, str(caught.value)


async def pulled_by_the_node(podman: Podman, name: str, home: Path) -> PullFailed:
    """The failure of a pull of the node's, as those who wait for it are told."""
    ended = asyncio.Event()
    node = Pulls(podman, Registries(), Access(home), lambda _: ended.set())
    with pytest.raises(Pulling):
        node.pulled(parse(name), (), "run")
    async with asyncio.timeout(LIMIT):
        await ended.wait()
    with pytest.raises(PullFailed) as caught:
        node.pulled(parse(name), (), "run")
    await node.close()
    return caught.value


async def test_a_missing_platform_is_told_with_those_that_there_are(
    registries_client: Podman, registry_address: str, tmp_path: Path
) -> None:
    async with FakeRegistry(registry_address) as registry:
        images = {
            f"linux/{each}": registry.publish("team/i", each, size=9, architecture=each) for each in ("arm", "s390x")
        }
        registry.publish_index("team/i", "1", images)
        failure = await pulled_by_the_node(registries_client, f"{registry_address}/team/i:1", tmp_path)
    assert failure.problem is RegistryProblem.NO_PLATFORM
    assert str(failure).endswith("; it is there for linux/arm, linux/s390x")


async def test_how_long_a_registry_wants_the_node_to_wait(
    registries_client: Podman, registry_address: str, tmp_path: Path
) -> None:
    async with FakeRegistry(registry_address) as registry:
        registry.refuse(429, "TOOMANYREQUESTS", {"Retry-After": "1"})
        failure = await pulled_by_the_node(registries_client, f"{registry_address}/team/limited:1", tmp_path)
    assert (failure.problem, failure.retry_after) == (RegistryProblem.RATE_LIMITED, 1.0)


def test_no_secret_is_shown() -> None:
    for credentials in (LOGIN, IdentityToken("a long secret")):
        assert "sesame" not in repr(credentials)
        assert "secret" not in repr(credentials)
