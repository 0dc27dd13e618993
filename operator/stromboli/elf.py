"""Parses an ELF file as its dynamic loader would. Nothing here knows about images or C libraries.

Like the loader, it uses program headers and the dynamic segment: section headers may be stripped or wrong. The record
layouts are pyelftools'; the traversal is ours, because these files are hostile input: every offset is checked before
it is read, every count and chain is bounded, and anything inconsistent raises InvalidElf. Only the relevant parts are
read, never the whole file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.structs import ELFStructs

from stromboli.errors import InvalidElf

# The kernel's own limits (fs/binfmt_elf.c: load_elf_phdrs, PATH_MAX), and limits far above any real file.
_MAX_PROGRAM_HEADERS = 65536
_MAX_INTERPRETER = 4096
_MAX_DYNAMIC_ENTRIES = 2048
_MAX_VERSIONS = 4096
_MAX_NAME = 1024

_ARCHITECTURES = {
    "EM_X86_64": "amd64",
    "EM_AARCH64": "arm64",
    "EM_386": "386",
    "EM_ARM": "arm",
    "EM_PPC64": "ppc64le",
    "EM_S390": "s390x",
    "EM_RISCV": "riscv64",
    "EM_LOONGARCH": "loong64",
}


class Source:
    """Random access to a seekable binary file, without caching."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, io.SEEK_END)

    def at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on. Raises InvalidElf if they are not within the file."""
        if offset < 0 or size < 0 or offset + size > self._length:
            raise InvalidElf("something lies outside the file")
        self._file.seek(offset)
        return self._file.read(size)


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header. `kind` is pyelftools' name of its type (`PT_LOAD`), or a number."""

    kind: str | int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Head:
    """The headers of a file. `architecture` is OCI's name; an `interpreter` of None means static
    (or a shared library, which has none either).
    """

    architecture: str
    interpreter: str | None
    segments: tuple[Segment, ...]
    structs: Any

    def segment(self, kind: str) -> Segment | None:
        return next((s for s in self.segments if s.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Elf:
    """The contents of the dynamic segment; all empty for a static file.

    `versions_needed` pairs each library with the symbol versions required from it (.gnu.version_r);
    `versions_defined` are the ones that the file itself provides (.gnu.version_d).
    """

    architecture: str
    interpreter: str | None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    versions_needed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    versions_defined: tuple[str, ...] = ()


def parse(data: bytes) -> Elf:
    """`read` over bytes in memory."""
    return read(io.BytesIO(data))


def read(file: BinaryIO) -> Elf:
    """Parse the ELF file in an open, seekable file. Raises InvalidElf, and OSError from the file."""
    source = Source(file)
    front = _head(source)
    segment = front.segment("PT_DYNAMIC")
    if segment is None:
        return Elf(front.architecture, front.interpreter)
    return _Dynamic(source, front, segment).facts()


def head(data: bytes) -> Head:
    """Parse the headers in the first bytes of a file; the rest is not needed. Raises InvalidElf."""
    return _head(Source(io.BytesIO(data)))


class _Dynamic:
    """Reads a dynamic segment and the three tables that it points to."""

    def __init__(self, source: Source, front: Head, segment: Segment) -> None:
        self._source, self._head, self._structs = source, front, front.structs
        self._tags: dict[str, list[int]] = {}
        size = self._structs.Elf_Dyn.sizeof()
        for n in range(min(segment.size // size, _MAX_DYNAMIC_ENTRIES)):
            entry = _record(source, self._structs.Elf_Dyn, segment.offset + n * size)
            if entry.d_tag == "DT_NULL":
                break
            self._tags.setdefault(str(entry.d_tag), []).append(entry.d_val)

    def facts(self) -> Elf:
        needed: dict[str, list[str]] = {}
        for library, version in self._chain("DT_VERNEED", "vn", self._structs.Elf_Verneed, self._wanted):
            needed.setdefault(library, []).append(version)
        defined = self._chain("DT_VERDEF", "vd", self._structs.Elf_Verdef, self._offered)
        return Elf(
            architecture=self._head.architecture,
            interpreter=self._head.interpreter,
            soname=next(iter(self._names("DT_SONAME")), None),
            needed=tuple(self._names("DT_NEEDED")),
            versions_needed=tuple((library, tuple(versions)) for library, versions in needed.items()),
            versions_defined=tuple(version for _, version in defined),
        )

    def _names(self, tag: str) -> list[str]:
        return [self._string(offset) for offset in self._tags.get(tag, ())]

    def _chain(self, tag: str, prefix: str, layout: Any, entries: Any) -> list[tuple[str, str]]:
        """All (library, version) pairs of a version table, each record of which has the offset of the next."""
        if tag not in self._tags:
            return []
        found: list[tuple[str, str]] = []
        offset = self._offset(self._tags[tag][0])
        for _ in range(min(self._value(f"{tag}NUM"), _MAX_VERSIONS)):
            record = _record(self._source, layout, offset)
            found.extend(entries(record, offset))
            if len(found) > _MAX_VERSIONS:
                raise InvalidElf("there are too many symbol versions")
            if not record[f"{prefix}_next"]:
                break
            offset += record[f"{prefix}_next"]
        return found

    def _wanted(self, record: Any, offset: int) -> Iterator[tuple[str, str]]:
        library = self._string(record.vn_file)
        offset += record.vn_aux
        for _ in range(min(record.vn_cnt, _MAX_VERSIONS)):
            entry = _record(self._source, self._structs.Elf_Vernaux, offset)
            yield library, self._string(entry.vna_name)
            if not entry.vna_next:
                return
            offset += entry.vna_next

    def _offered(self, record: Any, offset: int) -> Iterator[tuple[str, str]]:
        # The first name of a definition is its own, the others are its parents; the one flagged BASE names the file.
        if record.vd_cnt and not record.vd_flags & 1:
            entry = _record(self._source, self._structs.Elf_Verdaux, offset + record.vd_aux)
            yield "", self._string(entry.vda_name)

    def _string(self, offset: int) -> str:
        if offset >= self._value("DT_STRSZ"):
            raise InvalidElf("a name lies outside the string table")
        start = self._offset(self._value("DT_STRTAB")) + offset
        size = min(_MAX_NAME, self._value("DT_STRSZ") - offset)
        text, end, _ = self._source.at(start, size).partition(b"\0")
        if not end:
            raise InvalidElf("a name has no end")
        return text.decode("utf-8", "backslashreplace")

    def _value(self, tag: str) -> int:
        if tag not in self._tags:
            raise InvalidElf(f"there is no {tag}")
        return self._tags[tag][0]

    def _offset(self, address: int) -> int:
        for segment in self._head.segments:
            if segment.kind == "PT_LOAD" and segment.address <= address < segment.address + segment.size:
                return segment.offset + address - segment.address
        raise InvalidElf("an address lies in no segment")


def _head(source: Source) -> Head:
    structs = _structs(source.at(0, 16))
    header = _record(source, structs.Elf_Ehdr, 0)
    structs.create_advanced_structs(header.e_type, header.e_machine, header.e_ident.EI_OSABI)
    segments = tuple(_segments(source, structs, header))
    return Head(_architecture(header), _interpreter(source, segments), segments, structs)


def _structs(ident: bytes) -> Any:
    if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise InvalidElf("there is no ELF header")
    structs = ELFStructs(little_endian=ident[5] == 1, elfclass=32 * ident[4])
    structs.create_basic_structs()
    return structs


def _record(source: Source, layout: Any, offset: int) -> Any:
    data = source.at(offset, layout.sizeof())
    try:
        return struct_parse(layout, io.BytesIO(data), 0)
    except (ELFError, struct.error) as e:
        raise InvalidElf(str(e)) from e


def _segments(source: Source, structs: Any, header: Any) -> Iterator[Segment]:
    size = structs.Elf_Phdr.sizeof()
    if header.e_phnum and (header.e_phentsize != size or size * header.e_phnum > _MAX_PROGRAM_HEADERS):
        raise InvalidElf("the program headers have a size that the kernel does not accept")
    for n in range(header.e_phnum):
        entry = _record(source, structs.Elf_Phdr, header.e_phoff + n * size)
        yield Segment(entry.p_type, entry.p_offset, entry.p_vaddr, entry.p_filesz)


def _interpreter(source: Source, segments: tuple[Segment, ...]) -> str | None:
    segment = next((s for s in segments if s.kind == "PT_INTERP"), None)
    if segment is None:
        return None
    if not 2 <= segment.size <= _MAX_INTERPRETER:
        raise InvalidElf("the interpreter's path has a length that the kernel does not accept")
    path = source.at(segment.offset, segment.size).partition(b"\0")[0]
    return path.decode("utf-8", "backslashreplace")


def _architecture(header: Any) -> str:
    """OCI's name; for a machine that is unknown here, the name or number in the header."""
    machine = header.e_machine
    return _ARCHITECTURES.get(str(machine), str(machine).removeprefix("EM_").lower())
