"""The folder that an image is built from, read once: what was looked at is what is built.

Its files become one tar file in the operator's home, sorted, without owners, and without what `.dockerignore` leaves
out. Links stay links: nothing is read that is not in the folder. As with Docker, sockets are left out; pipes and
devices are refused. A folder that changes while it is read is read again.

The Dockerfile is in the folder too, and the name of no part of its way is a link. What is built is another file,
`CONTAINERFILE`, made from it: see compose/dockerfile/reach.py.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stromboli import pathwalk
from stromboli.apart import start
from stromboli.compose.dockerfile import ignore, lines
from stromboli.compose.dockerfile.ignore import Ignored, Results
from stromboli.compose.problem import Mark, quoted
from stromboli.compose.stack import Build
from stromboli.errors import ComposeProblem, InvalidInput, NotPermitted, Unanswered, Waiting
from stromboli.observe import hostfiles
from stromboli.observe.allowed import NOT_THERE, Allowed
from stromboli.observe.stackfiles import outside
from stromboli.pathwalk import Touching
from stromboli.plan import volumes
from stromboli.plan.policy import VolumeList
from stromboli.reasons import Reason

MOST_BYTES = 1024 * 1024 * 1024
MOST_ENTRIES = 100_000
MOST_SEEN = 1_000_000  # with those that are left out
DEEPEST = 200  # folders in folders
LIMIT = 300.0  # seconds
ATTEMPTS = 3
SETTLED = 0.05  # seconds before the folder is read again
CONTAINERFILE = ".stromboli.Containerfile"  # what is built
IGNOREFILE = ".containerignore"  # Podman's own, by which neither is copied into an image
OWN = (CONTAINERFILE, IGNOREFILE)
_DOCKERIGNORE = ".dockerignore"
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Context:
    """What was read. `archive` is a tar file, which whoever asked removes; None if there is no folder.

    `digest` is that of names, modes, links and contents: times do not count. `end` is where the last file ends in the
    archive, for what is added.
    """

    archive: Path | None
    digest: str
    dockerfile: bytes
    end: int = 0


async def read(build: Build, lists: Sequence[VolumeList], archive: Path, mark: Mark | None = None) -> Context:
    """Read the context of a build into `archive`. Raises ComposeProblem, NotPermitted, Waiting.

    `lists` are those of all policies (`Effective.volumes`). Nothing is left if it is cancelled or fails.
    """
    stopped = threading.Event()
    work = start(_read, build, lists, archive, mark, stopped)
    try:
        await asyncio.wait([work.found], timeout=LIMIT)
        if work.found.done():
            return work.found.result()
    except Unanswered as problem:
        raise Waiting(Reason.WaitingForReference, f"{build.at}.context: {problem}", 10.0) from problem
    finally:
        stopped.set()
        work.found.cancel()  # no effect if it is done
    raise ComposeProblem(f"{build.at}.context", f"could not be read within {LIMIT:.0f} s", str(mark or ""))


def _read(
    build: Build, lists: Sequence[VolumeList], archive: Path, mark: Mark | None, stopped: threading.Event
) -> Context:
    if build.context is None:
        inline = (build.dockerfile_inline or "").encode("utf-8", "surrogatepass")
        return Context(None, hashlib.sha256().hexdigest(), inline)
    for attempt in range(ATTEMPTS):
        if attempt > 0:
            time.sleep(SETTLED)
        try:
            with open(archive, "xb", opener=_private) as file:
                return _Reading(build, lists, mark, stopped, file).context(archive)
        except _Changed:
            archive.unlink(missing_ok=True)
        except BaseException:
            archive.unlink(missing_ok=True)
            raise
    raise ComposeProblem(
        f"{build.at}.context", "was changed while it was read: let it rest, or leave out by .dockerignore what changes"
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


class _Changed(Exception):
    """Something is not as it was a moment ago."""


class _Reading:
    """One attempt to read a folder."""

    def __init__(
        self,
        build: Build,
        lists: Sequence[VolumeList],
        mark: Mark | None,
        stopped: threading.Event,
        file: IO[bytes],
    ) -> None:
        self._build, self._mark, self._stopped = build, mark, stopped
        self._allowed = Allowed.of(lists)
        self._touching: Touching = hostfiles.toucher()
        self._file = file
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - see `context`
        self._hash = hashlib.sha256()
        self._bytes = self._entries = self._seen = 0
        self._root = ""

    def context(self, archive: Path) -> Context:
        path = self._build.context or ""
        try:
            with pathwalk.walked(path, touching=self._touching) as place:
                self._check(path, place.path)
                if not place.folder:
                    raise self._problem("context", "is not a folder")
                self._root = place.path
                dockerfile, ignored = self._files(place.descriptor)
                self._folder(place.descriptor, "", ignored, ignored.top)
                end = self._file.tell()
                self._tar.close()
                return Context(archive, self._hash.hexdigest(), dockerfile, end)
        except OSError as error:
            raise self._of(error, path) from error
        except ValueError as error:  # a NUL, or what is no character
            raise self._problem("context", "has a name that no folder can have") from error

    def _check(self, path: str, real: str) -> None:
        if why := outside(path, real, self._allowed, read_only=True):
            raise NotPermitted(f"{self._build.at}.context", why, str(self._mark or ""))

    def _files(self, root: int) -> tuple[bytes, Ignored]:
        """The Dockerfile, and what is left out."""
        if self._build.dockerfile_inline is not None:
            dockerfile = self._build.dockerfile_inline.encode("utf-8", "surrogatepass")
            names = [_DOCKERIGNORE]
        else:
            given, top = self._build.dockerfile or "", f"{(self._build.context or '').rstrip('/')}/"
            if not given.startswith(top):
                raise self._problem("dockerfile", "leads out of the context; a build reads nothing from elsewhere")
            name = given.removeprefix(top)
            found = self._small(root, name, "dockerfile", lines.LONGEST)
            if found is None:
                raise self._problem("dockerfile", f"the context has no {quoted(name)}")
            dockerfile = found
            names = [f"{name}{_DOCKERIGNORE}", _DOCKERIGNORE]
        for name in names:
            if (text := self._small(root, name, "context", ignore.LONGEST)) is not None:
                try:
                    return dockerfile, ignore.parse(text)
                except InvalidInput as e:
                    raise self._problem("context", f"{quoted(name)} {e.message}") from e
        return dockerfile, Ignored()

    def _small(self, root: int, name: str, field: str, longest: int) -> bytes | None:
        """The content of a file of the context, None if it is missing."""
        here = os.dup(root)
        try:
            for part in name.split("/"):
                with self._touching(f"{self._root}/{name}"):
                    below = os.open(part, _PLACE, dir_fd=here)
                os.close(here)
                here = below
            info = os.fstat(here)
            if not stat.S_ISREG(info.st_mode):
                raise self._problem(field, f"{quoted(name)} is not a regular file; a link is not followed")
            if info.st_size > longest:
                raise self._problem(field, f"{quoted(name)} is too large: at most {longest // 1024} KiB")
            with self._content(here, info) as file:
                content = file.read(longest + 1)
            if len(content) != info.st_size:
                raise _Changed
            return content
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            os.close(here)

    def _folder(self, folder: int, path: str, ignored: Ignored, around: Results) -> None:
        """What is in a folder of the context; `path` is its own, which is empty or ends in a slash."""
        if path.count("/") > DEEPEST:
            raise self._problem("context", f"has more than {DEEPEST} folders in each other")
        with self._touching(f"{self._root}/{path}"):
            reading = pathwalk.reopened(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = self._names(reading)
        finally:
            os.close(reading)
        for name in names:
            self._seen += 1
            if self._stopped.is_set():
                raise _Changed
            if self._seen > MOST_SEEN:
                raise self._too_much(f"more than {MOST_SEEN} files, with those that are left out")
            if not path and name in OWN:
                continue
            left_out, results = ignored.judge(path + name, around)
            if left_out and not ignored.has_exceptions:
                continue
            try:
                with self._touching(f"{self._root}/{path}{name}"):
                    place = os.open(name, _PLACE, dir_fd=folder)
            except FileNotFoundError as error:
                raise _Changed from error
            try:
                self._entry(place, path + name, ignored, left_out, results)
            finally:
                os.close(place)

    def _names(self, folder: int) -> list[str]:
        names = list[str]()
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > MOST_ENTRIES:
                    raise self._too_much(f"more than {MOST_ENTRIES} files")
        return sorted(names)

    def _entry(self, place: int, name: str, ignored: Ignored, left_out: bool, results: Results) -> None:
        info = os.fstat(place)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            self._check(f"{self._root}/{name}", f"{self._root}/{name}")
            if not left_out:
                self._add(name, info, tarfile.DIRTYPE)
            self._folder(place, f"{name}/", ignored, results)
        elif left_out or kind == stat.S_IFSOCK:
            return
        elif kind == stat.S_IFLNK:
            target = os.readlink("", dir_fd=place)
            led = os.path.normpath(os.path.join(os.path.dirname(name), target.lstrip("/")))
            if led == ".." or led.startswith("../"):
                raise self._problem(
                    "context", f"has the link {quoted(name)}, which leads out of it; leave it out by .dockerignore"
                )
            self._add(name, info, tarfile.SYMTYPE, target)
        elif kind == stat.S_IFREG:
            self._bytes += info.st_size
            if self._bytes > MOST_BYTES:
                raise self._too_much(f"more than {MOST_BYTES >> 20} MiB")
            with self._content(place, info) as file:
                self._add(name, info, tarfile.REGTYPE, file=file)
        else:
            raise self._problem(
                "context", f"has {quoted(name)}, a named pipe or a device; leave it out by .dockerignore"
            )

    def _add(self, name: str, info: os.stat_result, kind: bytes, target: str = "", file: _Hashed | None = None) -> None:
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise self._too_much(f"more than {MOST_ENTRIES} files")
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        entry.mode, entry.mtime = stat.S_IMODE(info.st_mode), int(info.st_mtime)
        entry.size = info.st_size if kind == tarfile.REGTYPE else 0
        said = (name, kind.decode(), f"{entry.mode:o}", target, str(entry.size))
        self._hash.update("\0".join(said).encode("utf-8", "surrogateescape") + b"\0\0")
        self._tar.addfile(entry, file)

    @contextmanager
    def _content(self, place: int, info: os.stat_result) -> Iterator[_Hashed]:
        """A file's content; it must be the same when it has been read."""
        with self._touching(self._root):
            file = pathwalk.reopened(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(file, "rb", buffering=0) as reading:
            try:
                yield _Hashed(reading, self._hash, self._stopped)
            finally:
                after = os.fstat(file)
            if _version(after) != _version(info):
                raise _Changed

    def _of(self, error: OSError, path: str) -> Exception:
        """The error for one of a file system."""
        if error.errno == errno.EWOULDBLOCK or (isinstance(error, OSError) and str(error) == "unexpected end of data"):
            return _Changed()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            said = f"{self._build.at}.context: the operator's home has no room for it ({error.strerror})"
            return Waiting(Reason.WaitingForReference, said, 30.0)
        led = volumes.normal(error.filename) if isinstance(error.filename, str) else path
        if led.startswith("/") and (why := outside(path, led, self._allowed, read_only=True)):
            return NotPermitted(f"{self._build.at}.context", why, str(self._mark or ""))
        if error.errno in NOT_THERE or error.errno == errno.EPERM:
            return self._problem("context", f"cannot be read ({error.strerror})")
        said = f"{path} cannot be read ({error.strerror}); the run continues when it can"
        return Waiting(Reason.WaitingForReference, said, 10.0)

    def _too_much(self, what: str) -> ComposeProblem:
        return self._problem("context", f"has {what}; leave out by .dockerignore what the image does not need")

    def _problem(self, field: str, what: str) -> ComposeProblem:
        return ComposeProblem(f"{self._build.at}.{field}", what, str(self._mark or ""))


class _Hashed:
    """A file that is read for the archive, and for the digest too."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash, stopped: threading.Event) -> None:
        self._file, self._digest, self._stopped = file, digest, stopped

    def read(self, size: int = -1) -> bytes:
        if self._stopped.is_set():
            raise _Changed
        piece = bytearray()
        while (size < 0 or len(piece) < size) and (part := self._file.read(size - len(piece) if size >= 0 else -1)):
            piece += part
        self._digest.update(piece)
        return bytes(piece)


def _version(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
