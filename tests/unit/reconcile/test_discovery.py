"""Finding images: what a namespace sees of a node, in which order, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stromboli.errors import ImageMissing, PodmanUnavailable, Refused
from stromboli.grammar.reference import parse
from stromboli.node.images import Images
from stromboli.perform.images import discovery
from stromboli.perform.images.discovery import Discovery, Progress
from stromboli.plan import holding
from stromboli.reasons import Reason
from stromboli.registry_credentials import Login
from tests.unit.reconcile.conftest import CLI, IMAGE, SPACE, Node, Process, Roots, made_node, policy

APP = "ghcr.io/team/app"
LABELLED = {"Labels": {holding.LABEL_COMPATIBLE: "true", holding.LABEL_DESCRIPTION: "for data"}}


@pytest.fixture
async def node(roots: Roots) -> AsyncIterator[Node]:
    """One of whose images nobody has inspected any."""
    async with made_node(roots, known=False) as made:
        yield made


@pytest.fixture
async def process(node: Node) -> AsyncIterator[Process]:
    async with node.process() as process:
        yield process


async def listed(found: Discovery, *, everything: bool = False) -> tuple[list[Progress], list[dict[str, Any]]]:
    """The progress, and the rows."""
    *steps, last = [step async for step in found.list(SPACE, everything=everything)]
    assert not isinstance(last, Progress)
    return [step for step in steps if isinstance(step, Progress)], last["images"]


def creations(node: Node) -> int:
    return sum("/containers/create" in call for call in node.fake.calls)


async def test_the_list_is_sorted_and_says_what_is_in_each(node: Node, process: Process, roots: Roots) -> None:
    node.fake.add_image(f"{APP}:2", f"{APP}:1", root=roots.image, **LABELLED)
    node.fake.add_image("ghcr.io/team/empty:1", root=roots.cli)
    _, rows = await listed(process.discovery)
    assert [(row["image"], row["rank"]) for row in rows] == [
        (f"{APP}:1", 1),
        (f"{APP}:2", 1),
        (IMAGE, 3),
        ("ghcr.io/team/empty:1", 4),
    ]
    assert rows[0]["compatible"] is True
    assert rows[0]["summary"]["libc"].startswith("glibc")
    assert (rows[3]["compatible"], "the Claude CLI needs glibc" in rows[3]["message"]) == (False, True)
    assert CLI not in {row["image"] for row in rows}


async def test_the_second_time_no_image_is_asked_for(node: Node, process: Process, roots: Roots) -> None:
    for number in range(6):
        node.fake.add_image(f"{APP}{number}:1", root=roots.image)
    first, rows = await listed(process.discovery)
    assert (first[0], first[-1], len(rows)) == (Progress(0, 7), Progress(7, 7), 7)
    before = len(node.fake.calls)
    again, _ = await listed(process.discovery)
    assert again == []
    calls = node.fake.calls[before:]
    assert [call for call in calls if "/images/json" in call or "/containers" in call] == ["GET /images/json"]
    assert len(calls) <= 3  # beside the list, what the CLI is


async def test_few_are_inspected_at_a_time(node: Node, process: Process, roots: Roots) -> None:
    for number in range(12):
        node.fake.add_image(f"{APP}{number}:1", root=roots.image)
    at_once = most = 0
    original = Images.facts

    async def facts(*arguments: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await asyncio.sleep(0)
            return await original(*arguments)
        finally:
            at_once -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Images, "facts", facts)
        _, rows = await listed(process.discovery)
    assert (len(rows), most) == (13, discovery.AT_ONCE)


async def test_a_list_ends_in_time_and_the_next_goes_on(
    node: Node, process: Process, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        node.fake.add_image(f"{APP}{number}:1", root=roots.image)
    monkeypatch.setattr(discovery, "PATIENCE", 0.0)
    *_, cut = [step async for step in process.discovery.list(SPACE)]
    assert not isinstance(cut, Progress)
    assert cut["incomplete"] == 7
    assert {row["message"] for row in cut["images"]} == {"not inspected: there was no time for it; list again"}
    monkeypatch.setattr(discovery, "PATIENCE", 60.0)
    *_, whole = [step async for step in process.discovery.list(SPACE)]
    assert not isinstance(whole, Progress)
    assert whole["incomplete"] == 0


async def test_whoever_goes_away_ends_it(node: Node, process: Process, roots: Roots) -> None:
    for number in range(12):
        node.fake.add_image(f"{APP}{number}:1", root=roots.image)
    steps = process.discovery.list(SPACE)
    assert await anext(steps) == Progress(0, 13)
    await steps.aclose()  # type: ignore[attr-defined]
    assert creations(node) <= discovery.AT_ONCE * 2 + 1


async def test_one_that_cannot_be_inspected_is_last_and_says_so(node: Node, process: Process, roots: Roots) -> None:
    await listed(process.discovery)
    node.fake.add_image("docker.io/library/a:1", root=roots.image)
    node.fake.fail("POST /containers/create", 500, times=10)
    _, rows = await listed(process.discovery)
    assert [(row["image"], row["rank"]) for row in rows] == [(IMAGE, 3), ("docker.io/library/a:1", None)]
    assert rows[1]["compatible"] is None
    assert rows[1]["message"].startswith("not inspected: Podman refused")


async def test_a_namespace_sees_what_its_policies_admit(node: Node, process: Process, roots: Roots) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["ghcr.io/team/*"]})]
    node.fake.add_image(f"{APP}:1", "ghcr.io/other/app:1", root=roots.image)
    assert [row["image"] for row in (await listed(process.discovery))[1]] == [f"{APP}:1"]
    _, everything = await listed(process.discovery, everything=True)
    assert {row["image"]: row["allowed"] for row in everything} == {
        f"{APP}:1": True,
        "ghcr.io/other/app:1": False,
        IMAGE: False,
    }


async def test_an_image_that_others_credentials_pulled_is_not_there(node: Node, process: Process) -> None:
    found = process.discovery
    assert (await found.inspect(SPACE, "python:3.12"))["compatible"] is True
    images, reference = found._images, parse(IMAGE)
    here = await images.on_node(reference)
    assert here is not None
    async with images.access.pulling(reference, None):
        await images.access.show(here, reference, Login("reader", "open sesame"))
    assert (await listed(found))[1] == []
    with pytest.raises(ImageMissing) as hidden:
        await found.inspect(SPACE, "python:3.12")
    with pytest.raises(ImageMissing) as missing:
        await found.inspect(SPACE, "python:3.13")
    assert str(hidden.value) == str(missing.value).replace("3.13", "3.12")
    assert [row["allowed"] for row in (await listed(found, everything=True))[1]] == [False]
    await images.access.use(SPACE, here, reference)
    assert [row["image"] for row in (await listed(found))[1]] == [IMAGE]


async def test_what_is_in_an_image(node: Node, process: Process, roots: Roots) -> None:
    node.fake.add_image(f"{APP}:1", root=roots.image, **LABELLED)
    told = await process.discovery.inspect(SPACE, f"{APP}:1")
    assert (told["image"], told["rank"], told["description"], told["refusal"]) == (f"{APP}:1", 1, "for data", "")
    assert told["libc"]["family"] == "glibc"
    assert (told["labels"], told["untrueLabels"]) == (LABELLED["Labels"], [])
    [row] = [row for row in (await listed(process.discovery))[1] if row["image"] == f"{APP}:1"]
    assert {key: row[key] for key in ("claudeCLI", "description")} == {"claudeCLI": "", "description": "for data"}


async def test_the_sentence_that_a_run_would_be_refused_with(node: Node, process: Process, roots: Roots) -> None:
    node.fake.add_image("ghcr.io/team/empty:1", root=roots.cli, **LABELLED)
    told = await process.discovery.inspect(SPACE, "ghcr.io/team/empty:1")
    assert (told["rank"], told["compatible"]) == (4, False)
    assert told["refusal"] == told["message"]
    assert told["untrueLabels"][0].startswith(f"the label {holding.LABEL_COMPATIBLE}=true is not so")
    node.run("refused", image="ghcr.io/team/empty:1")
    await node.finished("refused")
    assert told["refusal"] in node.message("refused")


async def test_a_name_without_the_digest_that_a_policy_requires(node: Node, process: Process) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["**"], "requireDigest": True})]
    told = await process.discovery.inspect(SPACE, "python:3.12")
    assert (told["compatible"], told["allowed"]) == (True, False)
    assert "names no digest" in told["refusal"]


@pytest.mark.parametrize(
    ("text", "reason", "word"),
    [
        ("alpine:3", Reason.ImageNotAllowed, "is not allowed by AgentPolicy tests"),
        ("localhost/stromboli/session:x", Reason.ImageNotAllowed, "the copy of a session"),
        ("0" * 64, Reason.InvalidSpec, "is not an image reference"),
        (f"sha256:{'0' * 64}", Reason.InvalidSpec, "is not an image reference"),
        ("", Reason.InvalidSpec, "it is empty"),
        ("a b", Reason.InvalidSpec, "is not an image reference"),
    ],
)
async def test_what_may_not_be_inspected(node: Node, process: Process, text: str, reason: Reason, word: str) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["docker.io/library/python", "localhost/**"]})]
    with pytest.raises(Refused, match=word) as caught:
        await process.discovery.inspect(SPACE, text)
    assert caught.value.reason is reason


async def test_without_the_cli_nothing_is_said_of_compatibility(node: Node, process: Process) -> None:
    node.fake.images = [image for image in node.fake.images if CLI not in image.tags]
    _, rows = await listed(process.discovery)
    assert [(row["rank"], row["compatible"]) for row in rows] == [(None, None)]
    assert "the Claude CLI's image" in rows[0]["message"]


async def test_a_search_of_every_registry(node: Node, process: Process) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["open.test/team/*:1"]})]
    node.fake.registries_conf = {"search": ["open.test", "away.test"]}
    node.fake.searched = {"open.test": [found("open.test/team/tool"), found("open.test/other/tool")]}
    told = await process.discovery.search(SPACE, "tool", 5)
    assert [(each["name"], each["allowed"]) for each in told["images"]] == [
        ("open.test/team/tool", True),
        ("open.test/other/tool", False),
    ]
    assert [each["registry"] for each in told["unanswered"]] == ["away.test"]


async def test_podman_that_is_away(node: Node, process: Process) -> None:
    node.fake.fail("GET /images/json", None, times=10)
    with pytest.raises(PodmanUnavailable):
        await listed(process.discovery)


def found(name: str) -> dict[str, Any]:
    """A result of a registry."""
    return {"Name": name, "Description": "", "Stars": 0, "Official": "", "Automated": ""}


async def test_a_namespace_that_does_not_exist_has_no_images(process: Process) -> None:
    for ask in (
        anext(aiter(process.discovery.list("nowhere"))),
        process.discovery.inspect("nowhere", IMAGE),
        process.discovery.search("nowhere", "python", 1),
    ):
        with pytest.raises(Refused, match="the namespace: nowhere does not exist"):
            await ask
