"""rpm's databases: what is read from each format, and that broken and hostile ones end in InvalidDatabase, soon."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents.rpm import database, header
from stromboli.plan.packages import Package
from tests.support import rpmdb
from tests.unit.inspection.contents.files import opened

NAMES = [(f"package-{n}", f"1.{n}.0") for n in range(400)]
HEADERS = [rpmdb.header(name, version, padding=(0, 40, 6000, 50_000)[n % 4]) for n, (name, version) in enumerate(NAMES)]
FEW = [rpmdb.header("bash", "5.1.8", padding=9000), rpmdb.header("git-core", "2.43.5"), rpmdb.header("jq", "1.6")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[bytes]], bytes]:
    scratch: Path = tmp_path_factory.mktemp("sqlite") / "rpmdb.sqlite"
    writers: dict[str, Callable[[list[bytes]], bytes]] = {
        "sqlite": lambda headers: rpmdb.sqlite(scratch, headers),
        "ndb": rpmdb.ndb,
        "bdb": rpmdb.bdb,
        "bdb of a big-endian machine": lambda headers: rpmdb.bdb(headers, order=">"),
    }
    return lambda name, headers: writers[name](headers)


FORMATS = ("sqlite", "ndb", "bdb", "bdb of a big-endian machine")


def read(data: bytes) -> list[Package]:
    """The packages, as far as the database is sound."""
    found = []
    with opened(data) as file:
        try:
            for package in database.packages(file):
                found.append(package)
        except InvalidDatabase:
            pass
    return found


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails if more than 1 MiB is in use at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FORMATS)
def test_all_packages_of_each_format(name: str, files: Callable[[str, list[bytes]], bytes]) -> None:
    with opened(files(name, HEADERS)) as file:
        found = list(database.packages(file))
    assert sorted((package.name, package.version) for package in found) == sorted(NAMES)


@pytest.mark.parametrize("name", FORMATS)
def test_no_package(name: str, files: Callable[[str, list[bytes]], bytes]) -> None:
    with opened(files(name, [])) as file:
        assert list(database.packages(file)) == []


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_left_of_a_truncated_database(name: str, files: Callable[[str, list[bytes]], bytes]) -> None:
    whole = files(name, HEADERS)
    found = read(whole[: len(whole) * 2 // 3])
    assert {(package.name, package.version) for package in found} < set(NAMES)
    assert found


@pytest.mark.parametrize("data", [b"", b"RpmP", b"SQLite format 3\0", b"\0" * 512, b"x" * 5000])
def test_what_is_no_database(data: bytes) -> None:
    with opened(data) as file, pytest.raises(InvalidDatabase):
        list(database.packages(file))


@given(data=st.binary(max_size=4096), magic=st.sampled_from([b"", b"RpmP\0\0\0\0", b"SQLite format 3\0"]))
def test_garbage_is_nothing(data: bytes, magic: bytes) -> None:
    assert read(magic + data) == []


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_damage_is_survived(name: str, files: Callable[[str, list[bytes]], bytes], data: st.DataObject) -> None:
    """Bytes of a real database are replaced, its counts, offsets and page numbers among them."""
    whole = bytearray(files(name, FEW))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=4))
        whole[at : at + len(piece)] = piece
    end = data.draw(st.integers(0, len(whole)))
    for package in read(bytes(whole[: max(end, 1)])):
        assert len(package.name) <= 256


def test_a_chain_of_pages_that_goes_in_circles() -> None:
    """It is as long as its item says, but no more of it is read than the beginning of a header."""
    whole = bytearray(rpmdb.bdb([rpmdb.header("bash", "5.1.8", padding=9000)]))
    first_overflow = 2 * rpmdb.PAGE
    struct.pack_into("<I", whole, first_overflow + 16, 2)
    item = whole.index(struct.pack("<II", 3, 2), rpmdb.PAGE)
    struct.pack_into("<I", whole, item + 8, 256 * 1024 * 1024)
    with little_memory():
        assert read(bytes(whole)) == [Package("bash", "5.1.8")]
    for length in (0, 1):  # now each round adds nothing, or so little that it takes for ever
        struct.pack_into("<H", whole, first_overflow + 22, length)
        assert read(bytes(whole)) == []


def test_a_tree_that_goes_in_circles(files: Callable[[str, list[bytes]], bytes]) -> None:
    whole = bytearray(files("sqlite", HEADERS))
    size = struct.unpack_from(">H", whole, 16)[0]
    root = next(n for n in range(1, len(whole) // size) if whole[n * size] == 5)
    struct.pack_into(">I", whole, root * size + 8, root + 1)
    found = read(bytes(whole))
    assert len(found) <= len(NAMES)


def test_a_row_that_overflows_in_circles(files: Callable[[str, list[bytes]], bytes]) -> None:
    whole = bytearray(files("sqlite", [rpmdb.header("bash", "5.1.8", padding=90_000)]))
    size = struct.unpack_from(">H", whole, 16)[0]
    # Pages of a row's overflow begin with the number of the next.
    for number in range(2, len(whole) // size):
        if whole[number * size] == 0 and struct.unpack_from(">I", whole, number * size)[0] == number + 2:
            struct.pack_into(">I", whole, number * size, number + 1)
    assert read(bytes(whole)) == [Package("bash", "5.1.8")]


@pytest.mark.parametrize("name", FORMATS)
def test_of_a_large_package_the_beginning_is_read(name: str, files: Callable[[str, list[bytes]], bytes]) -> None:
    with opened(files(name, [rpmdb.header("linux-firmware", "2024", padding=3_000_000)])) as file, little_memory():
        assert list(database.packages(file)) == [Package("linux-firmware", "2024")]


def test_absurd_counts() -> None:
    slots = struct.pack("<4sIIII12x", b"RpmP", 0, 1, 0xFFFFFFFF, 1)
    assert read(slots + b"\0" * 4096) == []
    for entries in (0, 0xFFFF, 0xFFFFFFFF):
        with pytest.raises(InvalidDatabase):
            header.package(struct.pack(">II", entries, 10) + b"\0" * 5000)


def test_a_header_without_a_name() -> None:
    assert header.package(rpmdb.header("", "1")) is None
    far = struct.pack(">II", 1, 10) + struct.pack(">IIiI", 1000, 6, 0x7FFFFFFF, 1) + b"x" * 10
    assert header.package(far) is None
    endless = struct.pack(">II", 1, 400) + struct.pack(">IIiI", 1000, 6, 0, 1) + b"x" * 400
    assert header.package(endless) is None
