"""Minimal ELF files with only the parts that a loader reads: interpreter, needed libraries, symbol versions.

They have no code and no section headers. The layouts follow elf(5) and the LSB's symbol versioning.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

AMD64, ARM64, I386 = 62, 183, 3

_EHDR64, _EHDR32 = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR64, _PHDR32 = struct.Struct("<IIQQQQQQ"), struct.Struct("<IIIIIIII")
_NULL, _NEEDED, _STRTAB, _STRSZ, _SONAME = 0, 1, 5, 10, 14
_VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


@dataclass
class TinyElf:
    """`needed` are the DT_NEEDED entries; `wants` are the versions needed by library (.gnu.version_r), `defines` those
    defined (.gnu.version_d). `static` omits the dynamic segment; `tail` is appended to the file.
    """

    machine: int = AMD64
    interpreter: str | None = None
    soname: str | None = None
    needed: Sequence[str] = ()
    wants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    defines: Sequence[str] = ()
    static: bool = False
    tail: bytes = b""
    base: int = 0x10000

    def build(self) -> bytes:
        wide = self.machine != I386
        ehdr, phdr = (_EHDR64, _PHDR64) if wide else (_EHDR32, _PHDR32)
        count = 1 + (self.interpreter is not None) + (not self.static)
        body = _Body(ehdr.size + count * phdr.size)
        headers: list[tuple[int, int, int]] = []
        if self.interpreter is not None:
            text = self.interpreter.encode() + b"\0"
            headers.append((3, body.add(text), len(text)))
        if not self.static:
            entries = self._dynamic(body)
            table = b"".join(struct.pack("<QQ" if wide else "<II", *entry) for entry in entries)
            headers.append((2, body.add(table), len(table)))
        body.add(self.tail)
        headers.append((1, 0, body.size))
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
        out = ehdr.pack(ident, 3, self.machine, 1, 0, ehdr.size, 0, 0, ehdr.size, phdr.size, len(headers), 0, 0, 0)
        for kind, offset, size in headers:
            at = offset + self.base
            fields = (kind, 4, offset, at, at, size, size, 8) if wide else (kind, offset, at, at, size, size, 4, 4)
            out += phdr.pack(*fields)
        return out + bytes(body.data)

    def _dynamic(self, body: _Body) -> list[tuple[int, int]]:
        names = _Names()
        entries = [(_NEEDED, names.of(name)) for name in self.needed]
        if self.soname:
            entries.append((_SONAME, names.of(self.soname)))
        if self.wants:
            entries += [
                (_VERNEED, self.base + body.add(self._verneed(names))),
                (_VERNEEDNUM, len(self.wants)),
            ]
        if self.defines:
            entries += [
                (_VERDEF, self.base + body.add(self._verdef(names))),
                (_VERDEFNUM, len(self.defines) + 1),
            ]
        strings = bytes(names.data)
        return [*entries, (_STRTAB, self.base + body.add(strings)), (_STRSZ, len(strings)), (_NULL, 0)]

    def _verneed(self, names: _Names) -> bytes:
        out = b""
        for n, (library, versions) in enumerate(self.wants.items()):
            size = 16 + 16 * len(versions)
            last = n == len(self.wants) - 1
            out += struct.pack("<HHIII", 1, len(versions), names.of(library), 16, 0 if last else size)
            for m, version in enumerate(versions):
                step = 0 if m == len(versions) - 1 else 16
                out += struct.pack("<IHHII", 0, 0, 2 + m, names.of(version), step)
        return out

    def _verdef(self, names: _Names) -> bytes:
        """The file's own name first, flagged BASE; the parent of each version is the previous one."""
        out = struct.pack("<HHHHIII", 1, 1, 1, 1, 0, 20, 28) + struct.pack("<II", names.of(self.soname or ""), 0)
        previous = None
        for n, version in enumerate(self.defines):
            chain = [version] if previous is None else [version, previous]
            step = 0 if n == len(self.defines) - 1 else 20 + 8 * len(chain)
            out += struct.pack("<HHHHIII", 1, 0, n + 2, len(chain), 0, 20, step)
            for m, name in enumerate(chain):
                out += struct.pack("<II", names.of(name), 8 if m < len(chain) - 1 else 0)
            previous = version
        return out


class _Body:
    """The contents after the headers; offsets are relative to the start of the file."""

    def __init__(self, start: int) -> None:
        self.data, self._start = bytearray(), start

    @property
    def size(self) -> int:
        return self._start + len(self.data)

    def add(self, part: bytes) -> int:
        self.data += bytes(-self.size % 8)
        offset = self.size
        self.data += part
        return offset


class _Names:
    """A string table."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def of(self, name: str) -> int:
        self.data += name.encode() + b"\0"
        return len(self.data) - len(name.encode()) - 1


def glibc_versions(newest: int) -> list[str]:
    """The symbol versions that glibc 2.`newest` defines on amd64, as far as tests need them."""
    return ["GLIBC_2.2.5", *(f"GLIBC_2.{minor}" for minor in range(3, newest + 1)), "GLIBC_PRIVATE"]


def glibc_loader(newest: int = 36, machine: int = AMD64) -> bytes:
    name = "ld-linux-aarch64.so.1" if machine == ARM64 else "ld-linux-x86-64.so.2"
    return TinyElf(machine, soname=name, defines=glibc_versions(min(newest, 35))).build()


def glibc_libc(newest: int = 36, machine: int = AMD64) -> bytes:
    return TinyElf(machine, soname="libc.so.6", defines=glibc_versions(newest)).build()


def musl_loader(version: str = "1.2.3", machine: int = AMD64) -> bytes:
    text = f"\0{version}\0musl libc (x86_64)\nVersion %s\nDynamic Program Loader\0"
    return TinyElf(machine, tail=text.encode()).build()


def program(interpreter: str | None, machine: int = AMD64) -> bytes:
    """An executable with that interpreter; a static one for None."""
    return TinyElf(machine, interpreter=interpreter, static=interpreter is None).build()
