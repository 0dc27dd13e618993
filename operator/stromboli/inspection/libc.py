"""Which C library an image has: glibc where the CLI expects it, or else whatever is there instead.

A file is identified by its content, never by its name: a loader is glibc's if it defines glibc's symbol versions, so
musl or gcompat under the name `ld-linux-x86-64.so.2` is not mistaken for it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from posixpath import basename, dirname

from stromboli import elf
from stromboli.errors import InvalidElf
from stromboli.inspection.opener import Found, ImageConfig, Opener, program
from stromboli.inspection.search import Library, Search, read_elf
from stromboli.plan.compatibility import CLINeeds, ImageFacts, Libc, text_of, version_of

GLIBC_LOADERS = {"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}
MUSL_LOADERS = (
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/usr/lib/ld-musl-x86_64.so.1",
    "/usr/lib/ld-musl-aarch64.so.1",
)
# Built from the same source as libc.so.6, so that one glibc has the same symbol versions in all of them.
_PARTS_OF_GLIBC = frozenset({"libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"})
# Bytes. Headers are at the front, but a tool that rewrote the interpreter's path may have moved that further back.
_PROGRAM_LIMIT = 8 * 1024 * 1024
_BEGINNING = 1024  # bytes; enough to tell what a file is that is not a loader


async def find(opener: Opener, needs: CLINeeds, config: ImageConfig) -> ImageFacts:
    """The libc part of the facts: first the loader that the CLI asks for, then every other way to identify a libc."""
    asked = [needs.interpreter] if needs.interpreter else list(GLIBC_LOADERS.values())
    for path in asked:
        if facts := await _glibc(opener, path, needs):
            return facts
    for path in (*MUSL_LOADERS, *asked):
        if facts := await _musl(opener, path):
            return facts
    for path in GLIBC_LOADERS.values():
        if path not in asked and (facts := await _glibc(opener, path, needs)):
            return replace(facts, interpreter=None)
    facts = await _by_programs(opener, needs, config)
    if facts.libc in (Libc.UNKNOWN, Libc.STATIC):
        return await _without_loader(opener, needs) or facts
    return facts


async def _without_loader(opener: Opener, needs: CLINeeds) -> ImageFacts | None:
    """The facts about a glibc that is at a usual place but cannot be loaded; None if there is none."""
    for architecture, usual in GLIBC_LOADERS.items():
        if needs.architecture not in ("", architecture):
            continue
        loader = needs.interpreter or usual
        libc = await Search(opener, architecture, loader).library("libc.so.6")
        if libc is not None and (version := _highest(libc.elf)) is not None:
            return ImageFacts(
                architecture=architecture,
                libc=Libc.GLIBC,
                libc_version=text_of(version),
                libc_path=libc.path,
                loader_problem=f"{loader} {await _wrong_with(opener, loader)}",
            )
    return None


async def _wrong_with(opener: Opener, loader: str) -> str:
    """What is wrong with the file at a loader's path, as the end of a sentence."""
    found = await opener.stat(loader)
    if found is None:
        if await opener.is_circle(loader):
            return "is a symlink loop"
        return "is missing, or a dangling symlink"
    data = await opener.read(found.path, _BEGINNING) if found.regular else None
    if data is None:
        return "is not a regular file"
    if not data.startswith(b"\x7fELF"):
        return "is a text file" if data.isascii() and b"\0" not in data else "is not a program"
    return "is not a glibc loader" if found.executable else "is not executable"


async def _glibc(opener: Opener, path: str, needs: CLINeeds) -> ImageFacts | None:
    """The facts about the glibc whose loader is at this path; None if it is not a glibc loader."""
    read = await read_elf(opener, path)
    if read is None or not read[0].executable or _highest(read[2]) is None:
        return None
    found, _, loader = read
    search = Search(opener, loader.architecture, found.path)
    libc = await search.library("libc.so.6")
    version = _highest(libc.elf) if libc else None
    facts = ImageFacts(
        architecture=loader.architecture,
        libc=Libc.GLIBC,
        libc_version=text_of(version) if version else "",
        libc_path=libc.path if libc and version else found.path,
        interpreter=found.path,
    )
    if libc is None or version is None:
        return replace(facts, missing_libraries=("libc.so.6",))
    return await _with_missing(facts, _Libraries(opener, search, libc, path, loader), needs)


class _Libraries:
    """Looks up the libraries that the CLI loads, next to the glibc that was found."""

    def __init__(self, opener: Opener, search: Search, libc: Library, asked: str, loader: elf.Elf) -> None:
        self._opener, self._search, self._libc = opener, search, libc
        self._known = {"libc.so.6": libc.elf, basename(asked): loader}

    async def versions(self, name: str) -> frozenset[str] | None:
        """The symbol versions that a library provides; None if it is missing. Empty for a part of glibc that is next to
        libc.so.6: it need not be read, since its versions are libc.so.6's.
        """
        if name in self._known:
            return frozenset(self._known[name].versions_defined)
        if name in _PARTS_OF_GLIBC:
            found = await self._opener.stat(f"{dirname(self._libc.path)}/{name}")
            if found and found.regular:
                return frozenset()
        library = await self._search.library(name)
        return frozenset(library.elf.versions_defined) if library else None


async def _with_missing(facts: ImageFacts, libraries: _Libraries, needs: CLINeeds) -> ImageFacts:
    missing, lacking = [], []
    for name, wanted in needs.libraries:
        offered = await libraries.versions(name)
        if offered is None:
            missing.append(name)
        elif offered:  # for the loader, a library without versions satisfies any requirement
            lacking += [f"{name} {version}" for version in wanted if version not in offered]
    return replace(facts, missing_libraries=tuple(missing), missing_versions=tuple(lacking))


async def _musl(opener: Opener, path: str) -> ImageFacts | None:
    """The facts about the musl whose loader is at this path; None if it is not a musl loader."""
    read = await read_elf(opener, path)
    if read is None or b"musl libc (" not in read[1]:
        return None
    return ImageFacts(
        architecture=read[2].architecture,
        libc=Libc.MUSL,
        libc_version=_musl_version(read[1]),
        libc_path=path,
    )


def _musl_version(data: bytes) -> str:
    """musl's loader prints `Version %s`; the version is a separate string among its constants."""
    match = re.search(rb"\0([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:-git-[-0-9a-g]{1,60})?)\0", data)
    return match[1].decode() if match else ""


async def _by_programs(opener: Opener, needs: CLINeeds, config: ImageConfig) -> ImageFacts:
    """If no loader is at a usual place: find the one that the image's programs use, if any."""
    facts = ImageFacts()
    async for found, head in _programs(opener, config):
        if head.interpreter is None:
            if facts.libc is Libc.UNKNOWN:
                facts = ImageFacts(head.architecture, Libc.STATIC, libc_path=found.path)
            continue
        if musl := await _musl(opener, head.interpreter):
            return musl
        if glibc := await _glibc(opener, head.interpreter, needs):
            return replace(glibc, interpreter=None)
    return facts


async def _programs(opener: Opener, config: ImageConfig) -> AsyncIterator[tuple[Found, elf.Head]]:
    names = ("/bin/sh", *config.entrypoint[:1], *config.command[:1], "/usr/bin/env", "/bin/busybox")
    for name in dict.fromkeys(names):
        found = await program(opener, name, config.path)
        data = await opener.read(found.path, _PROGRAM_LIMIT) if found else None
        if found is None or data is None:
            continue
        try:
            yield found, elf.head(data)
        except InvalidElf:
            continue


def _highest(file: elf.Elf) -> tuple[int, ...] | None:
    """The newest glibc version that a file defines; None if it defines none, and so is not part of glibc."""
    return max((v for name in file.versions_defined if (v := version_of(name))), default=None)
