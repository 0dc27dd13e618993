"""Pulls in the background: what runs are told meanwhile, and which runs a failure affects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.errors import ImageMissing, PullFailed, Pulling
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node import pulls
from stromboli.node.access import Access
from stromboli.node.images import Images
from stromboli.podman.images import ImageInfo
from stromboli.podman.pulls import PullProgress
from stromboli.registry_credentials import Credentials
from stromboli.registry_problem import RegistryProblem

APP = reference.parse("ghcr.io/team/app:1")
DIGEST = f"sha256:{'1' * 64}"


def known_as(image_id: str, *names: str) -> ImageInfo:
    """An image with these names, as Podman reports it."""
    digests = tuple(f"{name.rpartition(':')[0]}@{DIGEST}" for name in names)
    return cast(ImageInfo, SimpleNamespace(id=image_id, repo_tags=names, repo_digests=digests))


HERE, NEWER = (known_as(name, str(APP)) for name in ("here", "newer"))
AWAY = PullFailed("connection refused", RegistryProblem.UNAVAILABLE)
UNKNOWN = PullFailed("manifest unknown", RegistryProblem.NOT_FOUND)


class Registry:
    """A fake of Podman's images, as far as pulls need it; the test decides when and how a pull ends."""

    def __init__(self) -> None:
        self.here: ImageInfo | None = None
        self.asked = 0
        self.broken_off = False
        self._ends: asyncio.Future[ImageInfo] = asyncio.Future()
        self._tell: Callable[[PullProgress], None] = lambda _: None

    async def inspect(self, _: str) -> ImageInfo | None:
        return self.here

    async def pull(self, _: str, tell: Callable[[PullProgress], None], *, credentials: Credentials | None) -> ImageInfo:
        self.asked, self._tell, self._ends = self.asked + 1, tell, asyncio.Future()
        try:
            return await self._ends
        except asyncio.CancelledError:
            self.broken_off = True
            raise

    def arrive(self) -> None:
        self._tell(PullProgress(1 << 20, 3 << 20, 0, 1))

    async def end(self, how: ImageInfo | PullFailed) -> None:
        if isinstance(how, PullFailed):
            self._ends.set_exception(how)
        else:
            self.here = how
            self._ends.set_result(how)
        for _ in range(3):  # for the pull's task, and then its callback
            await asyncio.sleep(0)


@pytest.fixture
async def registry() -> Registry:
    return Registry()


@pytest.fixture
async def images(registry: Registry, tmp_path: Path) -> AsyncIterator[Images]:
    made = Images(
        cast(Any, SimpleNamespace(images=registry)), tmp_path, Access(tmp_path), "installation", lambda _: None
    )
    yield made
    await made.close()


async def told(
    images: Images, run: str = "run", policy: PullPolicy = PullPolicy.IfNotPresent, image: Reference = APP
) -> Exception:
    """Why a run cannot continue yet, or at all."""
    with pytest.raises((Pulling, ImageMissing, PullFailed)) as caught:
        await images.resolve(image, policy, run)
    await asyncio.sleep(0)  # lets a pull that was started ask the registry
    return caught.value


async def test_what_is_there_is_not_asked_for(images: Images, registry: Registry) -> None:
    registry.here = HERE
    assert await images.resolve(APP, PullPolicy.IfNotPresent, "run") is HERE
    assert await images.resolve(APP, PullPolicy.Never, "run") is HERE
    assert registry.asked == 0


async def test_what_is_missing_is_pulled_once_for_all_who_want_it(images: Images, registry: Registry) -> None:
    for run in ("one", "two", "one"):
        waiting = await told(images, run)
        assert isinstance(waiting, Pulling)
        assert str(waiting) == f"pulling {APP}: asking the registry, 0 s so far"
    registry.arrive()
    assert "1.0 of 3.0 MiB" in str(await told(images))
    await registry.end(HERE)
    assert await images.resolve(APP, PullPolicy.IfNotPresent, "two") is HERE
    assert registry.asked == 1


@pytest.mark.parametrize("policy", [PullPolicy.IfNotPresent, PullPolicy.Always])
async def test_what_was_pulled_and_is_gone_again_is_pulled_again(
    images: Images, registry: Registry, policy: PullPolicy
) -> None:
    await told(images, policy=policy)
    await registry.end(HERE)
    assert await images.resolve(APP, policy, "run") is HERE
    registry.here = None
    assert isinstance(await told(images, policy=policy), Pulling)
    assert registry.asked == 2


async def test_missing_and_not_to_be_pulled(images: Images, registry: Registry) -> None:
    refused = await told(images, policy=PullPolicy.Never)
    assert isinstance(refused, ImageMissing)
    assert registry.asked == 0


async def test_a_failure_is_what_there_is_to_say_until_bytes_arrive(
    images: Images, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(images)
    await registry.end(AWAY)
    assert await told(images) is AWAY
    assert registry.asked == 1, "a failure is an answer for a while"
    monkeypatch.setattr(pulls, "FIRST_DELAY", -1.0)
    assert await told(images) is AWAY
    assert registry.asked == 2
    registry.arrive()
    assert isinstance(await told(images), Pulling)
    await registry.end(HERE)
    assert await images.resolve(APP, PullPolicy.IfNotPresent, "run") is HERE


async def test_a_registrys_no_is_not_held_against_the_next_who_asks(
    images: Images, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "FIRST_DELAY", -1.0)
    await told(images, "first")
    await registry.end(UNKNOWN)
    assert isinstance(await told(images, "second"), Pulling)
    assert registry.asked == 2


async def test_always_asks_once_a_run_and_never_falls_back(images: Images, registry: Registry) -> None:
    registry.here = HERE
    await told(images, "run", PullPolicy.Always)
    await registry.end(AWAY)
    assert await told(images, "run", PullPolicy.Always) is AWAY
    assert await images.resolve(APP, PullPolicy.IfNotPresent, "other") is HERE


async def test_always_takes_what_was_pulled_for_this_run(images: Images, registry: Registry) -> None:
    registry.here = HERE
    await told(images, "run", PullPolicy.Always)
    registry.here = NEWER
    await registry.end(NEWER)
    assert await images.resolve(APP, PullPolicy.Always, "run") is NEWER
    assert isinstance(await told(images, "later", PullPolicy.Always), Pulling)
    assert registry.asked == 2


async def test_a_pull_is_cancelled_once_all_who_wanted_it_have_ended(images: Images, registry: Registry) -> None:
    for run in ("one", "two"):
        await told(images, run)
    images.leave("one")
    await asyncio.sleep(0)
    assert not registry.broken_off
    images.leave("two")
    await asyncio.sleep(0)
    assert registry.broken_off
    assert isinstance(await told(images, "three"), Pulling), "whoever comes then has it pulled anew"
    assert registry.asked == 2
    await registry.end(HERE)
    assert await images.resolve(APP, PullPolicy.IfNotPresent, "three") is HERE


async def test_a_pull_that_the_operator_itself_wants_goes_on(images: Images, registry: Registry) -> None:
    for run in ("", "one"):
        await told(images, run)
    images.leave("one")
    await asyncio.sleep(0)
    assert not registry.broken_off


OTHERS = known_as("others", "quay.io/other/secret:1")
PINNED = reference.parse(f"ghcr.io/team/app@{DIGEST}")


@pytest.mark.parametrize("policy", PullPolicy)
async def test_a_digest_that_another_repository_has_is_not_on_the_node(
    images: Images, registry: Registry, policy: PullPolicy
) -> None:
    """What Podman finds by the digest alone may be an image that no policy allows, or another tenant's."""
    registry.here = OTHERS
    problem = await told(images, policy=policy, image=PINNED)
    if policy is PullPolicy.Never:
        assert isinstance(problem, ImageMissing)
        assert str(problem).startswith(f"the image {PINNED} is not on the node, and its pull policy is Never")
        return
    assert isinstance(problem, Pulling)
    await registry.end(UNKNOWN)
    assert await told(images, policy=policy, image=PINNED) is UNKNOWN
    assert "quay.io" not in str(UNKNOWN), "whose it is, is not told"


@pytest.mark.parametrize("policy", [PullPolicy.IfNotPresent, PullPolicy.Always])
async def test_a_digest_that_two_repositories_have_is_pulled_from_the_admitted_one(
    images: Images, registry: Registry, policy: PullPolicy
) -> None:
    registry.here = OTHERS
    assert isinstance(await told(images, policy=policy, image=PINNED), Pulling)
    registry.here = known_as("others", "quay.io/other/secret:1", "ghcr.io/team/app:2")
    await registry.end(registry.here)
    assert await images.resolve(PINNED, policy, "run") is registry.here


@pytest.mark.parametrize("policy", [PullPolicy.IfNotPresent, PullPolicy.Always])
async def test_what_podman_has_pulled_and_knows_by_another_name_is_not_taken(
    images: Images, registry: Registry, policy: PullPolicy
) -> None:
    registry.here = OTHERS
    await told(images, policy=policy, image=PINNED)
    await registry.end(OTHERS)
    problem = await told(images, policy=policy, image=PINNED)
    assert isinstance(problem, PullFailed)


@pytest.mark.parametrize("policy", PullPolicy)
async def test_localhost_is_asked_for_nothing(images: Images, registry: Registry, policy: PullPolicy) -> None:
    mine = reference.parse("localhost/mine:1")
    problem = await told(images, policy=policy, image=mine)
    assert isinstance(problem, ImageMissing)
    assert str(problem).startswith("the image localhost/mine:1 is not on the node, and localhost is no registry")
    registry.here = known_as("mine", "localhost/mine:1")
    assert await images.resolve(mine, policy, "run") is registry.here
    assert registry.asked == 0
