"""Searches on both Podmans: each registry answers or is named, and no text of theirs steers a terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stromboli.podman import Podman, search
from stromboli.registry_problem import RegistryProblem
from tests.support.fake_podman import FakePodman
from tests.support.fake_registry import FakeRegistry
from tests.support.registry import NOBODY, Registry

UNAUTHORIZED = "unable to retrieve auth token: invalid username/password: unauthorized: authentication required"
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e reversed\nover two lines"


@dataclass(frozen=True, slots=True)
class Searched:
    """One Podman: `open` has team/tool, `closed` wants a login, `talkative` finds what `finds` is called with."""

    podman: Podman
    open: str
    closed: str
    talkative: str
    finds: Callable[[list[dict[str, Any]]], None]
    hang: Callable[[], None]


@pytest.fixture
async def really(
    registries_client: Podman, open_registry: Registry, closed_registry: Registry, registry_address: str
) -> AsyncIterator[Searched]:
    async with FakeRegistry(registry_address) as talkative:
        yield Searched(
            registries_client,
            open_registry.address,
            closed_registry.address,
            registry_address,
            talkative.found.extend,
            talkative.never_answer_searches,
        )


@pytest.fixture
async def falsely(fake: FakePodman) -> AsyncIterator[Searched]:
    fake.searched = {
        "open.test": [row("open.test/team/tool")],
        "closed.test": UNAUTHORIZED,
        NOBODY: "pinging container registry: dial tcp 127.0.0.1:1: connect: connection refused",
    }
    fake.registries_conf = {"search": ["open.test", NOBODY]}

    def finds(results: list[dict[str, Any]]) -> None:
        fake.searched["talkative.test"] = [
            row(
                f"talkative.test/{result['name']}",
                Description=result.get("description", ""),
                Stars=result.get("star_count", 0),
                Official="[OK]" if result.get("is_official") else "",
                Automated="[OK]" if result.get("is_automated") else "",
            )
            for result in results
        ]

    async with Podman(fake.socket) as podman:
        yield Searched(
            podman,
            "open.test",
            "closed.test",
            "talkative.test",
            finds,
            lambda: fake.searched.update({"talkative.test": None}),
        )


@pytest.fixture(params=["falsely", "really"])
def searched(request: pytest.FixtureRequest) -> Searched:
    found: Searched = request.getfixturevalue(request.param)
    return found


def row(name: str, **more: object) -> dict[str, Any]:
    empty = {"Description": "", "Stars": 0, "Official": "", "Automated": "", "Tag": ""}
    return {"Index": name.partition("/")[0], "Name": name} | empty | more


async def test_each_registry_answers_or_is_named(searched: Searched) -> None:
    results = await searched.podman.search.everywhere([searched.closed, searched.open, NOBODY, searched.open], "tool")
    (found,) = results.found
    assert found == search.Found(searched.open, f"{searched.open}/team/tool", "", 0, False, False)
    problems = {each.registry: each.problem for each in results.unanswered}
    assert problems == {searched.closed: RegistryProblem.DENIED, NOBODY: RegistryProblem.UNAVAILABLE}
    for each in results.unanswered:
        assert "couldn't search" not in each.message, "what is left is the registry's part"
        assert "\n" not in each.message


async def test_which_registries_are_searched_is_in_the_nodes_configuration(searched: Searched) -> None:
    assert (await searched.podman.registries()).search == (searched.open, NOBODY)


async def test_what_a_registry_says_of_an_image(searched: Searched) -> None:
    searched.finds(
        [{"name": "a/b", "description": "A tool", "star_count": 7, "is_official": True, "is_automated": False}]
    )
    results = await searched.podman.search.everywhere([searched.talkative], "b")
    name = f"{searched.talkative}/a/b"
    assert results.found == (search.Found(searched.talkative, name, "A tool", 7, True, False),)


async def test_three_thousand_results_that_steer_a_terminal(searched: Searched) -> None:
    searched.finds([{"name": f"team/tool{n}", "description": HOSTILE + "x" * 1000} for n in range(3000)])
    results = await searched.podman.search.everywhere([searched.talkative], "tool", limit=1_000_000)
    assert len(results.found) == search.MOST
    for found in results.found:
        assert found.description.isprintable(), found.description
        assert found.description.startswith(r"\x1b[2J\x1b]0;owned\x07\u202e reversed over two lines")
        assert len(found.description) == search.LONGEST_DESCRIPTION
    assert len((await searched.podman.search.everywhere([searched.talkative], "tool", limit=3)).found) == 3


async def test_a_name_that_no_image_can_have_is_left_out(searched: Searched) -> None:
    searched.finds([{"name": name} for name in ("team/\x1b[2Jtool", "team/tool", "team/tool with a space")])
    results = await searched.podman.search.everywhere([searched.talkative], "tool")
    assert [found.name for found in results.found] == [f"{searched.talkative}/team/tool"]


async def test_results_that_are_too_large(searched: Searched) -> None:
    searched.finds([{"name": f"team/tool{n}", "description": "x" * (search.LARGEST // 2)} for n in range(3)])
    results = await searched.podman.search.everywhere([searched.talkative, searched.open], "tool")
    assert [each.registry for each in results.unanswered] == [searched.talkative]
    assert "larger than" in results.unanswered[0].message
    assert [found.registry for found in results.found] == [searched.open]


async def test_a_registry_that_never_answers(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ANSWER", 1.0)
    searched.hang()
    results = await searched.podman.search.everywhere([searched.talkative, searched.open], "tool")
    (silent,) = results.unanswered
    assert (silent.registry, silent.problem) == (searched.talkative, RegistryProblem.UNAVAILABLE)
    assert silent.message == "no answer within 1 s"
    assert [found.registry for found in results.found] == [searched.open]
