"""What an image's package database says about tools. An image has one database; the first that has a package is it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stromboli.apart import apart
from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents import apk, dpkg, paragraphs
from stromboli.inspection.contents.rpm import database as rpm
from stromboli.inspection.opener import Opener
from stromboli.inspection.openfile import OpenFile
from stromboli.plan.contents import Evidence
from stromboli.plan.packages import Database, Package, evidence_of, likely_order

_PARAGRAPH = 64 * 1024  # bytes of each of distroless' files


async def evidence(opener: Opener, system: str) -> tuple[bool, list[Evidence]]:
    """Whether there is a database, and what it says. `system` is the ID in os-release."""
    for database in likely_order(system):
        found, says = await _READERS[database](opener)
        if found:
            return True, says
    return False, []


_Read = tuple[bool, list[Evidence]]


async def _dpkg(opener: Opener) -> _Read:
    read = await _file(opener, dpkg.STATUS, paragraphs.LIMIT, Database.DPKG, lambda file: dpkg.packages(file.chunks()))
    if read[0]:
        return read
    files = await opener.files(dpkg.FOLDER, _PARAGRAPH)
    return _of(Database.DPKG, (package for content in files.values() for package in dpkg.packages([content])))


async def _apk(opener: Opener) -> _Read:
    return await _first(opener, apk.FILES, paragraphs.LIMIT, Database.APK, lambda file: apk.packages(file.chunks()))


async def _rpm(opener: Opener) -> _Read:
    return await _first(opener, rpm.FILES, rpm.LIMIT, Database.RPM, rpm.packages)


_READERS = {Database.DPKG: _dpkg, Database.APK: _apk, Database.RPM: _rpm}


async def _first(
    opener: Opener,
    paths: Iterable[str],
    limit: int,
    database: Database,
    packages: Callable[[OpenFile], Iterable[Package]],
) -> _Read:
    for path in paths:
        read = await _file(opener, path, limit, database, packages)
        if read[0]:
            return read
    return False, []


async def _file(
    opener: Opener, path: str, limit: int, database: Database, packages: Callable[[OpenFile], Iterable[Package]]
) -> _Read:
    async with opener.open(path, limit) as file:
        if file is None:
            return False, []
        # In a thread, since a large one takes a second. If this is cancelled, the thread's next read fails.
        return await apart(lambda: _of(database, packages(file)))


def _of(database: Database, packages: Iterable[Package]) -> _Read:
    """Whether there is a package, and what all say, as far as the database is sound."""
    found, says = False, []
    try:
        for package in packages:
            found = True
            if (piece := evidence_of(database, package)) is not None:
                says.append(piece)
    except InvalidDatabase:
        pass
    return found, says
