"""ELF bytes → facts: what a loader would read, and InvalidElf for everything else."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import elf
from stromboli.errors import InvalidElf
from stromboli.plan.compatibility import version_of
from tests.support.elf import ARM64, I386, TinyElf, glibc_libc

LOADER = "/lib64/ld-linux-x86-64.so.2"
WHOLE = TinyElf(
    interpreter=LOADER,
    soname="libx.so.1",
    needed=["libc.so.6", "libm.so.6"],
    wants={"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.17"], "libm.so.6": ["GLIBC_2.2.5"]},
    defines=["GLIBC_2.26", "OWN_1.0"],
).build()


def test_everything_that_a_loader_reads_is_told() -> None:
    facts = elf.parse(WHOLE)
    assert facts == elf.Elf(
        architecture="amd64",
        interpreter=LOADER,
        soname="libx.so.1",
        needed=("libc.so.6", "libm.so.6"),
        versions_needed=(("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.17")), ("libm.so.6", ("GLIBC_2.2.5",))),
        versions_defined=("GLIBC_2.26", "OWN_1.0"),
    )


def test_a_static_file_has_an_architecture_and_nothing_else() -> None:
    assert elf.parse(TinyElf(static=True).build()) == elf.Elf("amd64", None)


@pytest.mark.parametrize(
    ("machine", "name"), [(62, "amd64"), (ARM64, "arm64"), (I386, "386"), (243, "riscv64"), (8, "mips")]
)
def test_architectures_have_the_names_of_oci(machine: int, name: str) -> None:
    assert elf.parse(TinyElf(machine, needed=["libc.so.6"]).build()).architecture == name


def test_a_machine_without_a_name_is_its_number() -> None:
    assert elf.parse(TinyElf(60000).build()).architecture == "60000"


def test_a_32_bit_file_is_read_whole() -> None:
    data = TinyElf(I386, interpreter="/lib/ld-linux.so.2", needed=["libc.so.6"], defines=["A_1"]).build()
    facts = elf.parse(data)
    assert (facts.interpreter, facts.needed, facts.versions_defined) == (
        "/lib/ld-linux.so.2",
        ("libc.so.6",),
        ("A_1",),
    )


def test_the_front_of_a_file_is_enough_for_its_head() -> None:
    data = TinyElf(interpreter=LOADER, tail=bytes(200_000)).build()
    head = elf.head(data[:4096])
    assert (head.architecture, head.interpreter) == ("amd64", LOADER)


def test_this_machines_own_c_library_is_told_right() -> None:
    """This Python's interpreter is a real glibc loader, whose version `confstr` reports."""
    with Path(sys.executable).resolve().open("rb") as f:
        mine = elf.read(f)
    assert mine.interpreter is not None
    libc = Path(mine.interpreter).resolve().with_name("libc.so.6")
    defined = elf.parse(libc.read_bytes()).versions_defined
    newest = max(v for name in defined if (v := version_of(name)))
    assert (2, 17) <= newest <= version_of(os.confstr("CS_GNU_LIBC_VERSION").replace("glibc ", "GLIBC_"))  # type: ignore[operator,union-attr]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\necho no\n",
        b"\x7fELF" + bytes(60),
        b"\x7fELF\x02\x01\x01" + bytes(9),
        b"MZ" + bytes(100),
    ],
)
def test_what_is_no_elf_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidElf):
        elf.parse(data)


def _patched(data: bytes, offset: int, layout: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(layout, out, offset, value)
    return bytes(out)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (32, "<Q", 2**64 - 1),  # program headers beyond the end of the file
        (54, "<H", 1),  # … of an invalid size
        (56, "<H", 0xFFFF),  # … more than the kernel accepts
        (64 + 32, "<Q", 2**40),  # an interpreter that is longer than the file
        (64 + 32, "<Q", 1),  # … shorter than a path
        (64 + 8, "<Q", 2**63),  # … at an impossible offset
    ],
)
def test_headers_that_contradict_the_file_are_refused(offset: int, layout: str, value: int) -> None:
    with pytest.raises(InvalidElf):
        elf.parse(_patched(WHOLE, offset, layout, value))


def test_more_program_headers_than_the_kernel_takes_are_not_read() -> None:
    data = _patched(WHOLE, 56, "<H", 5000) + bytes(5000 * 56)
    with pytest.raises(InvalidElf, match="a size that the kernel does not accept"):
        elf.parse(data)


def test_version_tables_that_go_round_or_never_end_are_bounded() -> None:
    """A count of 65535 with an increment of zero, and a count of 2**32 records: both stop at once."""
    defines = TinyElf(soname="l", defines=["GLIBC_2.2.5"]).build()
    number = struct.pack("<QQ", 0x6FFFFFFD, 2)
    assert defines.count(number) == 1
    endless = defines.replace(number, struct.pack("<QQ", 0x6FFFFFFD, 2**32))
    assert elf.parse(endless).versions_defined == ("GLIBC_2.2.5",)

    wants = TinyElf(wants={"l": ["V"]}).build()
    record = struct.pack("<HH", 1, 1)
    many = wants.replace(record, struct.pack("<HH", 1, 65535), 1)
    assert elf.parse(many).versions_needed == (("l", ("V",)),)


def test_a_name_outside_the_string_table_is_refused() -> None:
    data = TinyElf(needed=["libc.so.6"]).build()
    entry = struct.pack("<QQ", 1, 1)
    assert data.count(entry) == 1
    with pytest.raises(InvalidElf, match="outside the string table"):
        elf.parse(data.replace(entry, struct.pack("<QQ", 1, 5000)))


def _read(data: bytes) -> elf.Elf | None:
    try:
        return elf.parse(data)
    except InvalidElf:
        return None


@given(st.binary(max_size=600))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    assert _read(b"\x7fELF\x02\x01\x01" + data) is None or len(data) >= 57
    assert data[:4] == b"\x7fELF" or _read(data) is None


@given(st.integers(0, len(WHOLE) - 1))
def test_truncation_raises_nothing_else(length: int) -> None:
    facts = _read(WHOLE[:length])
    assert facts is None or facts == elf.parse(WHOLE)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_changed_bytes_raise_nothing_else(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for offset, value in changes:
        data[offset] = value
    facts = _read(bytes(data))
    assert facts is None or isinstance(facts.architecture, str)


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=64))
def test_a_real_layout_with_a_hole_raises_nothing_else(offset: int, hole: bytes) -> None:
    data = glibc_libc()
    facts = _read(data[:offset] + hole + data[offset + len(hole) :])
    assert facts is None or len(facts.versions_defined) <= 8192
