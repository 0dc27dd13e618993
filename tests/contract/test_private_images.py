"""Images of a real registry that asks for a login: who gets one that is on a real node, and where the login is not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stromboli.errors import PullFailed, Pulling
from stromboli.grammar.reference import Reference, parse
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node.access import Access
from stromboli.node.images import Images
from stromboli.plan import pull_secrets
from stromboli.plan.pull_secrets import Keyring, Source, Tenant
from stromboli.podman import Podman
from stromboli.podman.images import ImageInfo
from stromboli.registry_credentials import Login
from stromboli.registry_problem import RegistryProblem
from tests.support.podman import IsolatedPodman
from tests.support.registry import LOGIN, Registry

LIMIT = 60.0
WRONG = Login(LOGIN.user, "a guess")


class Node:
    """The images of a node, as its operator has them."""

    def __init__(self, podman: Podman, home: Path) -> None:
        self.access = Access(home)
        self.images = Images(podman, home / "cache", self.access, "installation", lambda _: self._ended.set())
        self._ended = asyncio.Event()

    async def gets(
        self, reference: Reference, tenant: Tenant, policy: PullPolicy = PullPolicy.IfNotPresent
    ) -> ImageInfo:
        """The image for a tenant, however long that takes."""
        async with asyncio.timeout(LIMIT):
            while True:
                try:
                    return await self.images.resolve(reference, policy, tenant.namespace, tenant)
                except Pulling:
                    await self._ended.wait()
                    self._ended.clear()

    async def refused(self, reference: Reference, tenant: Tenant) -> str:
        """What a tenant is told that does not get the image."""
        with pytest.raises(PullFailed) as caught:
            await self.gets(reference, tenant)
        assert caught.value.problem is RegistryProblem.DENIED
        return str(caught.value)


def tenant(namespace: str, login: Login | None = None, registry: str = "") -> Tenant:
    """A namespace with a Secret as `kubectl create secret docker-registry` makes it."""
    sources = []
    if login is not None:
        auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        entry = {"username": login.user, "password": login.password, "auth": auth}
        data = {".dockerconfigjson": json.dumps({"auths": {registry: entry}}).encode()}
        sources.append(Source("the Secret robot", data))

    async def keys(reference: Reference) -> Keyring:
        return pull_secrets.keyring(sources, reference)

    return Tenant(namespace, keys)


@pytest.fixture
async def node(
    registries_client: Podman, registry_podman: IsolatedPodman, closed_registry: Registry, tmp_path: Path
) -> AsyncIterator[Node]:
    made = Node(registries_client, tmp_path)
    yield made
    await made.images.close()
    registry_podman.run("rmi", "--all", "--force")


@pytest.fixture
def tool(closed_registry: Registry) -> Reference:
    return parse(f"{closed_registry.address}/secret/tool:1")


async def test_who_gets_an_image_that_a_login_has_pulled(node: Node, tool: Reference) -> None:
    here = await node.gets(tool, tenant("team-a", LOGIN, tool.registry))
    assert await node.gets(tool, tenant("team-b", LOGIN, f"https://{tool.registry}/v1/")) == here
    exact = Reference(tool.registry, tool.path, None, here.digest)
    for reference in (tool, exact):
        assert "unauthorized" in await node.refused(reference, tenant("team-c"))
        said = await node.refused(reference, tenant("team-c", WRONG, tool.registry))
        assert said.endswith(f"; {tool.registry} refuses the credentials of the Secret robot")
    assert not node.access.visible_to("team-c", here)
    assert (node.access.visible_to("team-a", here), node.access.visible_to("team-b", here)) == (True, True)


async def test_access_is_shown_by_the_manifest_alone(
    node: Node, tool: Reference, registries_client: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await registries_client.images.pull(str(tool), credentials=LOGIN)
    async with node.access.pulling(tool, None):
        await node.access.show(here, tool, Login("another", "user's"))

    async def pull(*_: object, **__: object) -> ImageInfo:
        raise AssertionError("it is pulled")

    monkeypatch.setattr(registries_client.images, "pull", pull)
    mine = tenant("team-a", LOGIN, tool.registry)
    assert not node.access.is_open_to(here, tool, (LOGIN,))
    assert await node.gets(tool, mine, PullPolicy.Never) == here
    assert node.access.is_open_to(here, tool, (LOGIN,))


async def test_a_public_image_becomes_everybodys(node: Node, open_registry: Registry) -> None:
    reference = parse(f"{open_registry.address}/team/tool:1")
    here = await node.gets(reference, tenant("team-a", WRONG, open_registry.address))
    assert await node.gets(reference, tenant("team-b")) == here
    assert node.access.is_open(here, reference)


async def test_the_login_is_in_no_file(
    node: Node, tool: Reference, registry_podman: IsolatedPodman, tmp_path: Path
) -> None:
    await node.gets(tool, tenant("team-a", LOGIN, tool.registry))
    sent = base64.b64encode(f"{LOGIN.user}:{LOGIN.password}".encode())
    files = [path for root in (registry_podman.root, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert LOGIN.password.encode() not in content, path
        assert sent not in content, path
