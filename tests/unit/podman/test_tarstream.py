"""Extracting one file from a tar stream, however the stream is split into chunks."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import PodmanError
from stromboli.podman.tarstream import first_file
from tests.support.streams import pieces


def _tar(content: bytes, *, form: int = tarfile.PAX_FORMAT, **fields: object) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        for name, value in fields.items():
            setattr(entry, name, value)
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


async def _read(data: bytes, size: int = 1000) -> bytes:
    return b"".join([piece async for piece in first_file(pieces(data, size), "/file")])


@given(content=st.binary(max_size=3000), size=st.integers(1, 5000))
async def test_the_content_comes_out_whatever_thepieces(content: bytes, size: int) -> None:
    assert await _read(_tar(content), size) == content


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
async def test_headers_before_the_file_are_skipped(form: int) -> None:
    name = "x" * (90 if form == tarfile.USTAR_FORMAT else 300)
    assert await _read(_tar(b"hello", form=form, name=name)) == b"hello"


async def test_extended_attributes_do_not_disturb() -> None:
    attributes = {"SCHILY.xattr.user.note": "size=3 or so", "comment": "x"}
    assert await _read(_tar(b"hello", pax_headers=attributes)) == b"hello"


async def test_a_size_stated_in_the_extension_counts() -> None:
    archive = bytearray(_tar(b"hello", pax_headers={"size": "5"}))
    archive[1024 + 124 : 1024 + 136] = b"00000000000\0"  # as tar writers do for a size that does not fit the field
    archive[1024 + 148 : 1024 + 156] = b" " * 8
    archive[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(archive[1024:1536])
    assert await _read(bytes(archive)) == b"hello"


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
async def test_only_a_regular_file_is_one(kind: bytes) -> None:
    with pytest.raises(PodmanError, match="/file in the container is not a regular file"):
        await _read(_tar(b"", type=kind))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ended early"),
        (_tar(b"hello")[:514], "ended early"),
        (_tar(b"hello")[:100], "ended early"),
        (b"not a tar" * 100, "is not a tar stream"),
        (b"\0" * 1024, "is not a tar stream"),
    ],
)
async def test_a_broken_stream_is_told(data: bytes, words: str) -> None:
    with pytest.raises(PodmanError, match=words):
        await _read(data)


async def test_an_absurd_extension_is_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(PodmanError, match="absurd"):
        await _read(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
