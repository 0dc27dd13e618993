"""Where a loader finds a library: its own folder, the compiled-in folders, ld.so.cache."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.inspection import search
from stromboli.inspection.search import Search
from tests.support.elf import ARM64, TinyElf
from tests.support.opener import Image

LOADER = "/opt/c/ld-linux-x86-64.so.2"
LIBRARY = TinyElf(soname="libx.so.1").build()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def cache(*entries: tuple[str, str], before: bytes = b"") -> bytes:
    """An /etc/ld.so.cache in the format of glibc 2.2 and later."""
    strings, table = b"", b""
    start = 48 + 24 * len(entries)
    for name, path in entries:
        key = start + len(strings)
        strings += name.encode() + b"\0"
        value = start + len(strings)
        strings += path.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0x303, key, value, 0, 0)
    return before + b"glibc-ld.so.cache1.1" + struct.pack("<II20x", len(entries), len(strings)) + table + strings


async def found(image: Image, architecture: str = "amd64") -> str | None:
    library = await Search(image.opener, architecture, LOADER).library("libx.so.1")
    return library.path if library else None


async def test_the_loaders_own_folder_comes_first(image: Image) -> None:
    image.file("/opt/c/libx.so.1", LIBRARY).file("/lib/libx.so.1", LIBRARY)
    assert await found(image) == "/opt/c/libx.so.1"


@pytest.mark.parametrize(
    "folder",
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"],
)
async def test_the_folders_of_the_distributions_are_searched(image: Image, folder: str) -> None:
    assert await found(image.file(f"{folder}/libx.so.1", LIBRARY)) == f"{folder}/libx.so.1"


async def test_folders_of_another_architecture_are_not(image: Image) -> None:
    image.file("/lib/x86_64-linux-gnu/libx.so.1", TinyElf(ARM64).build())
    assert await found(image, "arm64") is None


async def test_what_does_not_fit_is_passed_over(image: Image) -> None:
    image.file("/opt/c/libx.so.1", b"INPUT(libx.so)").file("/lib64/libx.so.1", TinyElf(ARM64).build())
    assert await found(image.file("/usr/lib/libx.so.1", LIBRARY)) == "/usr/lib/libx.so.1"


@pytest.mark.parametrize("before", [b"", b"ld.so-1.7.0\0" + bytes(36)])
async def test_other_folders_are_found_through_the_cache(image: Image, before: bytes) -> None:
    image.file("/usr/local/lib64/libx.so.1", LIBRARY)
    entries = [("liby.so.1", "/usr/local/lib64/liby.so.1"), ("libx.so.1", "/gone/libx.so.1")]
    data = cache(*entries, ("libx.so.1", "/usr/local/lib64/libx.so.1"), before=before)
    assert await found(image.file("/etc/ld.so.cache", data)) == "/usr/local/lib64/libx.so.1"


async def test_a_cache_that_names_one_path_for_ever_is_bounded(image: Image) -> None:
    """Each entry could take 4 KiB of memory, and cause a lookup in the image."""
    strings = b"libx.so.1\0" + b"/a" * 300 + b"\0"
    count = 50_000
    start = 48 + 24 * count
    table = struct.pack("<iIIIQ", 0x303, start, start + 10, 0, 0) * count
    data = b"glibc-ld.so.cache1.1" + struct.pack("<II20x", count, len(strings)) + table + strings
    image.file("/etc/ld.so.cache", data)
    paths = await Search(image.opener, "amd64", LOADER)._cached("libx.so.1")
    assert len(paths) == search._MOST_OF_A_NAME
    assert len(list(search._cache_entries(data))) == search._MOST_ENTRIES
    assert await found(image) is None


async def test_relative_paths_in_the_cache_are_not_followed(image: Image) -> None:
    image.file("/x/libx.so.1", LIBRARY).file("/etc/ld.so.cache", cache(("libx.so.1", "x/libx.so.1")))
    assert await found(image) is None


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_a_cache_of_nonsense_names_nothing_outside_it(data: bytes, count: int) -> None:
    hostile = b"glibc-ld.so.cache1.1" + struct.pack("<I", count) + data
    assert all(path.startswith("/") for _, path in search._cache_entries(hostile))
    assert list(search._cache_entries(data)) == []
