"""Facts by image id: determined once, kept across restarts, determined again whenever in doubt."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from stromboli.inspection.cache import FactsCache
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser, Libc

ID = "a" * 64
FACTS = ImageFacts(
    "amd64", Libc.GLIBC, "2.36", "/lib/libc.so.6", "/lib/ld", ("x",), ("y Z",), user=ImageUser(1, 2, None)
)
NEEDS = CLINeeds("amd64", "/lib/ld", (("libc.so.6", ("GLIBC_2.17",)),))


class Looks:
    """A `look` that counts its calls."""

    def __init__(self, facts: ImageFacts = FACTS) -> None:
        self.facts, self.count = facts, 0

    async def __call__(self) -> ImageFacts:
        self.count += 1
        await asyncio.sleep(0)
        return self.facts


@pytest.fixture
def looks() -> Looks:
    return Looks()


async def test_an_image_is_looked_at_once(tmp_path: Path, looks: Looks) -> None:
    cache = FactsCache(tmp_path)
    results = await asyncio.gather(*(cache.get(ID, NEEDS, looks) for _ in range(5)))
    assert results == [FACTS] * 5
    assert looks.count == 1


async def test_facts_outlive_the_process(tmp_path: Path, looks: Looks) -> None:
    await FactsCache(tmp_path / "cache/images").get(f"sha256:{ID}", NEEDS, looks)
    assert await FactsCache(tmp_path / "cache/images").get(ID, NEEDS, looks) == FACTS
    assert looks.count == 1
    assert [p.name for p in (tmp_path / "cache/images").iterdir()] == [f"{ID}.json"]


async def test_another_user_looks_again(tmp_path: Path, looks: Looks) -> None:
    cache = FactsCache(tmp_path)
    await cache.get(ID, NEEDS, looks)
    await cache.get(ID, NEEDS, looks, user="node")
    await cache.get(ID, NEEDS, looks, user="node")
    assert looks.count == 2


async def test_another_need_looks_again(tmp_path: Path, looks: Looks) -> None:
    cache = FactsCache(tmp_path)
    await cache.get(ID, NEEDS, looks)
    await cache.get(ID, CLINeeds(), looks)
    await FactsCache(tmp_path).get(ID, NEEDS, looks)  # the file has only the latest needs
    assert looks.count == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00\xff",
        lambda text: "[]",
        lambda text: text.replace('"glibc"', '"uclibc"'),
        lambda text: json.dumps({**json.loads(text), "schema": 0}),
        lambda text: json.dumps({**json.loads(text), "found": {"user": 7}}),
    ],
)
async def test_a_file_that_is_spoilt_or_old_is_looked_at_again(tmp_path: Path, looks: Looks, spoil) -> None:  # type: ignore[no-untyped-def]
    await FactsCache(tmp_path).get(ID, NEEDS, looks)
    file = tmp_path / f"{ID}.json"
    file.write_text(spoil(file.read_text()))
    assert await FactsCache(tmp_path).get(ID, NEEDS, looks) == FACTS
    assert looks.count == 2
    await FactsCache(tmp_path).get(ID, NEEDS, looks)
    assert looks.count == 2


async def test_a_look_that_fails_is_not_remembered(tmp_path: Path, looks: Looks) -> None:
    async def fails() -> ImageFacts:
        raise ConnectionError("gone")

    cache = FactsCache(tmp_path)
    with pytest.raises(ConnectionError):
        await cache.get(ID, NEEDS, fails)
    assert list(tmp_path.iterdir()) == []
    assert await cache.get(ID, NEEDS, looks) == FACTS


async def test_a_disk_that_cannot_be_written_stops_nothing(
    tmp_path: Path, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FactsCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert await cache.get(ID, NEEDS, looks) == FACTS
    assert "kept in memory only" in caplog.text
    await cache.get(ID, NEEDS, looks)
    assert looks.count == 1


@pytest.mark.parametrize("image_id", ["", "python:3.12", "../" + "a" * 61, "A" * 64, "a" * 64 + "\n", "a" * 63])
async def test_an_id_that_is_none_is_refused(tmp_path: Path, looks: Looks, image_id: str) -> None:
    with pytest.raises(ValueError, match="is not an image id"):
        await FactsCache(tmp_path).get(image_id, NEEDS, looks)
    assert looks.count == 0
