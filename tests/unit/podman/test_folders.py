"""Finding files in a folder's tar stream, however the stream is split into chunks."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import PodmanError
from stromboli.podman.tarstream import find_file
from tests.support.streams import pieces

MANY = 1 << 30


def _tar(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


async def _read(data: bytes, wanted: str, size: int = 1000, most: int = MANY) -> bytes | None:
    async for found in find_file(pieces(data, size), "folder", lambda name: name == wanted, most):
        content = b"".join([piece async for piece in found.content])
        assert len(content) == found.size
        return content
    return None


@given(before=st.binary(max_size=2000), content=st.binary(max_size=2000), size=st.integers(1, 5000))
async def test_the_content_comes_out_whatever_thepieces(before: bytes, content: bytes, size: int) -> None:
    archive = _tar({"folder/a": before, "folder/b": content, "folder/c": b"c"})
    assert await _read(archive, "folder/b", size) == content


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("name", ["folder/" + "x" * 90 + "/" + "y" * 40, "folder/é"])
async def test_a_name_that_needs_more_room(form: int, name: str) -> None:
    assert await _read(_tar({"folder/é-": b"no", name: b"hello"}, form), name) == b"hello"


async def test_a_longer_name_is_for_one_entry_only() -> None:
    long = "folder/" + "x" * 300
    assert await _read(_tar({long: b"a", "folder/b": b"b"}), "folder/b") == b"b"


async def test_none_is_found() -> None:
    assert await _read(_tar({"folder/a": b"a"}), "folder/b") is None


async def test_only_regular_files_are() -> None:
    assert await _read(_tar({}), "folder") is None


async def test_several_are_told_one_after_the_other() -> None:
    archive = _tar({"folder/a": b"a" * 700, "folder/b": b"b"})
    told = []
    async for found in find_file(pieces(archive, 100), "folder", lambda _: True, MANY):
        # the second file is found even if the first was read only in part
        told.append((found.name, (await anext(aiter(found.content)))[:1]))
    assert told == [("folder/a", b"a"), ("folder/b", b"b")]


@pytest.mark.parametrize("wanted", ["folder/a", "folder/b"])
async def test_there_is_a_limit_to_what_is_gone_through(wanted: str) -> None:
    archive = _tar({"folder/a": b"a" * (2 << 20), "folder/b": b"b"})
    with pytest.raises(PodmanError, match="folder in the container is larger than 1 MiB"):
        await _read(archive, wanted, most=1 << 20)


@pytest.mark.parametrize("length", [0, 100, 600, 1100])
async def test_a_stream_that_ends_early_is_an_error(length: int) -> None:
    with pytest.raises(PodmanError, match="ended early"):
        await _read(_tar({"folder/a": b"a" * 700})[:length], "folder/a")


async def test_what_is_no_tar_stream_is_an_error() -> None:
    with pytest.raises(PodmanError, match="not a tar stream"):
        await _read(b"x" * 4096, "folder/a")


@pytest.mark.parametrize("content", [b"", b"not a record", b"0 path=x\n", b"99 size", b"-1 path=x\n"])
async def test_a_header_of_nonsense_is_passed_over(content: bytes) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("extension")
        entry.type, entry.size = tarfile.XHDTYPE, len(content)
        archive.write(entry.tobuf() + content.ljust(-(-len(content) // 512) * 512, b"\0"))
        plain = tarfile.TarInfo("folder/a")
        plain.size = 1
        tar.addfile(plain, io.BytesIO(b"a"))
    assert await _read(archive.getvalue(), "folder/a") == b"a"


async def test_a_header_of_absurd_size_is_an_error() -> None:
    entry = tarfile.TarInfo("extension")
    entry.type, entry.size = tarfile.XHDTYPE, 2 << 20
    with pytest.raises(PodmanError, match="absurd"):
        await _read(entry.tobuf() + bytes(4096), "folder/a")
