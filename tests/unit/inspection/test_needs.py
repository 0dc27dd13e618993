"""The CLI's binary → what it requires of an image."""

from __future__ import annotations

import io

import pytest

from stromboli.inspection.needs import needs_of
from stromboli.plan.compatibility import GLIBC_FLOOR, CLINeeds
from tests.support.elf import ARM64, TinyElf, program

LOADER = "/lib64/ld-linux-x86-64.so.2"
# Like the real one: it requires at most 2.17, and defines a version of its own that looks newer.
CLI = TinyElf(
    interpreter=LOADER,
    needed=["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"],
    wants={"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.9"], "libm.so.6": ["GLIBC_2.2.5"]},
    defines=["GLIBC_2.26"],
)
NEEDS = CLINeeds(
    architecture="amd64",
    interpreter=LOADER,
    libraries=(
        ("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.9")),
        ("libm.so.6", ("GLIBC_2.2.5",)),
        ("ld-linux-x86-64.so.2", ()),
    ),
    glibc=(2, 17),
)


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_only_versions_that_are_wanted_count() -> None:
    assert needs_of(io.BytesIO(CLI.build())) == NEEDS


def test_a_cli_that_wants_more_says_so() -> None:
    data = TinyElf(interpreter=LOADER, needed=["libc.so.6"], wants={"libc.so.6": ["GLIBC_2.28"]}).build()
    assert needs_of(io.BytesIO(data)).glibc == (2, 28)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\nexec true\n", b"\x7fELF" + bytes(200)])
def test_a_cli_that_is_no_elf_needs_what_the_product_promises(data: bytes) -> None:
    assert needs_of(io.BytesIO(data)) == CLINeeds(architecture="", interpreter=None, glibc=GLIBC_FLOOR)


def test_a_static_cli_has_an_architecture_and_the_floor() -> None:
    needs = needs_of(io.BytesIO(program(None, ARM64)))
    assert needs == CLINeeds(architecture="arm64", interpreter=None, glibc=GLIBC_FLOOR)


def test_a_dynamic_segment_far_behind_is_found_and_little_else_is_read() -> None:
    file = Counting(_with_dynamic_at(5_000_000))
    assert needs_of(file) == NEEDS
    assert file.taken < 10_000


def _with_dynamic_at(offset: int) -> bytes:
    """The CLI with its dynamic segment behind the code, where a linker places it."""
    data = bytearray(CLI.build())
    header = next(at for at in range(64, 64 + 3 * 56, 56) if data[at] == 2)
    begin = int.from_bytes(data[header + 8 : header + 16], "little")
    size = int.from_bytes(data[header + 32 : header + 40], "little")
    moved = bytes(data[begin : begin + size])
    data[header + 8 : header + 16] = offset.to_bytes(8, "little")
    data[begin : begin + size] = bytes(size)
    return bytes(data) + bytes(offset - len(data)) + moved
