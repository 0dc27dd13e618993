"""What registries are asked without a pull: the same of docker-registry and of the tests' fake one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from stromboli.errors import RegistryError
from stromboli.grammar.reference import parse
from stromboli.podman import Podman
from stromboli.podman.registries_conf import RegistriesConf
from stromboli.registries import Registries
from stromboli.registry_credentials import Login
from stromboli.registry_problem import RegistryProblem
from tests.support.fake_registry import FakeRegistry
from tests.support.registry import LOGIN, Registry


@pytest.fixture
async def registries() -> AsyncIterator[Registries]:
    async with Registries() as made:
        yield made


@dataclass(frozen=True, slots=True)
class Asked:
    """A registry with `team/tool:1`, as the node's registries.conf has it."""

    address: str
    conf: RegistriesConf


@pytest.fixture
async def really(open_registry: Registry, registries_client: Podman) -> Asked:
    return Asked(open_registry.address, await registries_client.registries())


@pytest.fixture
async def falsely(registry_address: str, registries_client: Podman) -> AsyncIterator[Asked]:
    async with FakeRegistry(registry_address) as served:
        served.publish("team/tool", "1", size=10)
        yield Asked(registry_address, await registries_client.registries())


@pytest.fixture(params=["falsely", "really"])
def asked(request: pytest.FixtureRequest) -> Asked:
    found: Asked = request.getfixturevalue(request.param)
    return found


async def test_a_tags_digest_is_the_one_that_a_pull_brings(
    asked: Asked, registries: Registries, registries_client: Podman
) -> None:
    tool = parse(f"{asked.address}/team/tool:1")
    digest = await registries.digest(tool, asked.conf)
    pulled = await registries_client.images.pull(str(tool))
    assert f"{tool.name}@{digest}" in pulled.repo_digests
    assert await registries.digest(parse(f"{tool.name}@{digest}"), asked.conf) == digest
    whole = await registries.manifest(tool, asked.conf)
    assert (whole.digest, whole.platforms) == (digest, ())


@pytest.mark.parametrize("name", ["team/tool:2", "team/none:1", f"team/tool@sha256:{'0' * 64}"])
async def test_what_the_registry_does_not_have(asked: Asked, registries: Registries, name: str) -> None:
    for ask in (registries.digest, registries.manifest):
        with pytest.raises(RegistryError) as caught:
            await ask(parse(f"{asked.address}/{name}"), asked.conf)
        assert caught.value.problem is RegistryProblem.NOT_FOUND
        assert str(caught.value) == f"{asked.address} does not have {asked.address}/{name}"


async def test_a_login_opens_what_is_closed(
    registries: Registries, registries_client: Podman, closed_registry: Registry
) -> None:
    conf = await registries_client.registries()
    secret = parse(f"{closed_registry.address}/secret/tool:1")
    for credentials in (None, Login(LOGIN.user, "let me in")):
        with pytest.raises(RegistryError, match="denies access to") as caught:
            await registries.digest(secret, conf, credentials)
        assert caught.value.problem is RegistryProblem.DENIED
        assert "let me in" not in str(caught.value)
    assert (await registries.digest(secret, conf, LOGIN)).startswith("sha256:")


async def test_a_mirror_of_the_hub_is_asked_first(
    registries: Registries, registries_client: Podman, open_registry: Registry
) -> None:
    conf = await registries_client.registries()
    mirrored = parse("python:3")
    digest = await registries.digest(mirrored, conf)
    assert digest == await registries.digest(parse(f"{open_registry.address}/team/tool:1"), conf)
    pulled = await registries_client.images.pull(str(mirrored))
    assert f"docker.io/library/python@{digest}" in pulled.repo_digests
