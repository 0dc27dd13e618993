"""What the gates of images say of a stack: which of its keys a problem with the agent's image is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.grammar import reference
from stromboli.perform.run_images import RunImages
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser, Libc
from stromboli.plan.verdict import Refuse

MUSL = ImageFacts(architecture="amd64", libc=Libc.MUSL, libc_version="1.2.3", user=ImageUser(0, 0, None))
NOBODY = ImageFacts(claude="/bin/claude", user_problem="the image's user 'app' is not in its /etc/passwd")


class Images:
    """All images have these facts."""

    def __init__(self, facts: ImageFacts) -> None:
        self._facts = facts

    async def facts(self, *_: object) -> ImageFacts:
        return self._facts


async def said(facts: ImageFacts, *, user: str | None = None, built: bool = False, stack: bool = True) -> str:
    """The refusal of a run, in a stack whose service `dev` the agent runs in."""
    references = {} if built else {"dev": reference.parse("team/dev:1")}
    environment = SimpleNamespace(agent=SimpleNamespace(name="dev", user=user), references=references)
    own_cli = facts.claude is not None
    candidate = SimpleNamespace(
        cli=None if own_cli else SimpleNamespace(needs=CLINeeds()), stack=environment if stack else None, image=None
    )
    gate = RunImages(cast(Any, Images(facts)), cast(Any, None), cast(Any, None))
    verdict = await gate.inside(cast(Any, candidate))
    assert isinstance(verdict, Refuse)
    return verdict.message


@pytest.mark.parametrize(
    ("built", "place"),
    [
        (False, "spec.environment: services.dev.image: docker.io/team/dev:1: "),
        (True, "spec.environment: services.dev.build: "),
    ],
)
async def test_an_image_that_does_not_suit_is_named_by_its_key(built: bool, place: str) -> None:
    assert await said(MUSL, built=built) == place + await said(MUSL, stack=False)


async def test_a_user_of_the_file_that_the_image_does_not_have() -> None:
    assert (await said(NOBODY, user="app")).startswith("spec.environment: services.dev.user: the image's user 'app'")
    assert (await said(NOBODY)).startswith("spec.environment: services.dev.image: docker.io/team/dev:1: ")
