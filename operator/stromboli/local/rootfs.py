"""Writes an image's root filesystem as a tar stream: our own files and the contents of Debian packages, merged-usr.

Nothing is unpacked to disk, and owners and modes are in the tar only, so an ordinary user writes the same root as root
does. What a root contains is decided elsewhere (`debian`, the tests' images).
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

# Debian's layout since bookworm; packages of that release still ship the old paths.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Root:
    """Writes a root to `out`. Of several entries with the same path, the first is kept."""

    def __init__(self, out: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(fileobj=_Sink(out), mode="w", format=tarfile.PAX_FORMAT)  # type: ignore[arg-type]
        self._seen: set[str] = set()

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._tar.close()

    def merged_usr(self) -> None:
        """Add `/bin`, `/lib` and the like as symlinks into `/usr`, and the folders that a running system expects."""
        for name in ("bin", "sbin", "lib", "lib64"):
            self.directory(f"usr/{name}")
            self._add(_entry(name, tarfile.SYMTYPE, linkname=f"usr/{name}"))
        for name in ("dev", "etc", "home", "proc", "run", "sys", "var"):
            self.directory(name)
        self.directory("root", mode=0o700)
        for name in ("tmp", "var/tmp"):
            self.directory(name, mode=0o1777)

    def directory(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        """An empty folder; `owner` is uid and gid."""
        self._add(_entry(path, tarfile.DIRTYPE, mode=mode, owner=owner))

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """A small file that belongs to root."""
        self.stream(path, io.BytesIO(content), len(content), mode)

    def stream(self, path: str, content: IO[bytes], size: int, mode: int = 0o644) -> None:
        """A file that belongs to root, copied from a stream of exactly `size` bytes."""
        self._add(_entry(path, tarfile.REGTYPE, mode=mode, size=size), content)

    def symlink(self, path: str, target: str) -> None:
        """A symlink; `target` is its content, relative to the image's root if absolute."""
        self._add(_entry(path, tarfile.SYMTYPE, linkname=target))

    def packages(self, debs: Iterable[Path], wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Add the contents of Debian packages, except for paths (`usr/bin/x`) that are not `wanted`. No script runs.

        Raises CalledProcessError if one cannot be read.
        """
        for deb in debs:
            self._package(deb, wanted)

    def _package(self, deb: Path, wanted: Callable[[str], bool]) -> None:
        command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker:
            assert unpacker.stdout is not None
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as contents:
                for member in contents:
                    member.name = _merged(member.name)
                    if member.name and wanted(member.name):
                        self._add(_relinked(member), contents.extractfile(member) if member.isreg() else None)
        if unpacker.returncode:
            raise subprocess.CalledProcessError(unpacker.returncode, command)

    def _add(self, entry: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        if entry.name not in self._seen:
            self._seen.add(entry.name)
            self._tar.addfile(entry, content)


class _Sink:
    """The part of a file's interface with which TarFile writes to a pipe. (In its own `w|` mode, it writes more when it
    is garbage collected.)
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._written = 0

    def write(self, block: bytes) -> int:
        self._written += len(block)
        return self._out.write(block)

    def tell(self) -> int:
        return self._written


def _entry(
    path: str, kind: bytes, *, mode: int = 0o777, owner: int = 0, size: int = 0, linkname: str = ""
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, linkname
    entry.uid = entry.gid = owner
    return entry


def _merged(name: str) -> str:
    """`./bin/sh` → `usr/bin/sh`; the root itself → the empty string."""
    path = name.removeprefix("./").strip("/")
    path = "" if path == "." else path
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


def _relinked(member: tarfile.TarInfo) -> tarfile.TarInfo:
    if member.islnk():  # a hard link names another entry of the archive, whose path has changed too
        member.linkname = _merged(member.linkname)
    return member
