"""The packages in a file of rpm's, whichever format it has: told by its first bytes, not by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents.rpm import bdb, header, ndb, sqlite
from stromboli.inspection.openfile import OpenFile
from stromboli.plan.packages import Package

# Where distributions have had it, today's first: rpm moves the database to /usr for image-based systems.
FILES = tuple(
    f"{folder}/{name}"
    for folder in ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
    for name in ("rpmdb.sqlite", "Packages.db", "Packages")
)
LIMIT = 256 * 1024 * 1024  # bytes; what is beyond is not read
MOST = 8_000  # packages; a hostile database makes each take 0.3 ms


def packages(file: OpenFile) -> Iterator[Package]:
    """The installed packages; raises InvalidDatabase where the file is no such database, or no further one."""
    for count, prefix in enumerate(_headers(file)(file)):
        if count == MOST:
            raise InvalidDatabase(f"has more than {MOST} packages")
        try:
            package = header.package(prefix)
        except InvalidDatabase:  # not every value is one
            continue
        if package is not None:
            yield package


def _headers(file: OpenFile) -> Callable[[OpenFile], Iterator[bytes]]:
    start = file.at(0, min(file.size, 32))
    if start.startswith(sqlite.MAGIC):
        return sqlite.headers
    if start.startswith(ndb.MAGIC):
        return ndb.headers
    if bdb.order(start) is not None:
        return bdb.headers
    raise InvalidDatabase("it is no package database of rpm's")
