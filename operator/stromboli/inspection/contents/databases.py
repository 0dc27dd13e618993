"""What an image's package database says about tools. An image has one database; the first that has a package is it.

One that is truncated, damaged or too large counts as far as it can be read; the packages that it does not name may be
there all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stromboli.apart import apart
from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents import apk, dpkg, paragraphs
from stromboli.inspection.contents.rpm import database as rpm
from stromboli.inspection.opener import Opener
from stromboli.inspection.openfile import OpenFile
from stromboli.plan.contents import Evidence
from stromboli.plan.packages import Database, Package, evidence_of, likely_order

_PARAGRAPH = 64 * 1024  # bytes of each of distroless' files


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of a database: whether it has packages, whether those are all, and what they say."""

    found: bool = False
    complete: bool = False
    says: tuple[Evidence, ...] = ()


async def read(opener: Opener, system: str) -> Read:
    """The image's database. `system` is the ID in os-release."""
    for database in likely_order(system):
        if (found := await _READERS[database](opener)).found:
            return found
    return Read()


async def _dpkg(opener: Opener) -> Read:
    status = await _file(
        opener, dpkg.STATUS, paragraphs.LIMIT, Database.DPKG, lambda file: dpkg.packages(file.chunks())
    )
    if status.found:
        return status
    files = await opener.files(dpkg.FOLDER, _PARAGRAPH)
    each = (dpkg.packages([content, b"\n\n"]) for content in files.values())
    return _of(Database.DPKG, itertools.chain.from_iterable(each))


async def _apk(opener: Opener) -> Read:
    return await _first(opener, apk.FILES, paragraphs.LIMIT, Database.APK, lambda file: apk.packages(file.chunks()))


async def _rpm(opener: Opener) -> Read:
    return await _first(opener, rpm.FILES, rpm.LIMIT, Database.RPM, rpm.packages)


_READERS = {Database.DPKG: _dpkg, Database.APK: _apk, Database.RPM: _rpm}


async def _first(
    opener: Opener,
    paths: Iterable[str],
    limit: int,
    database: Database,
    packages: Callable[[OpenFile], Iterable[Package]],
) -> Read:
    for path in paths:
        if (found := await _file(opener, path, limit, database, packages)).found:
            return found
    return Read()


async def _file(
    opener: Opener, path: str, limit: int, database: Database, packages: Callable[[OpenFile], Iterable[Package]]
) -> Read:
    async with opener.open(path, limit) as file:
        if file is None:
            return Read()
        # In a thread, since a large one takes a second. If this is cancelled, the thread's next read fails.
        return await apart(lambda: _of(database, packages(file)))


def _of(database: Database, packages: Iterable[Package]) -> Read:
    """What all packages say, as far as the database is sound."""
    found, complete, says = False, False, []
    try:
        for package in packages:
            found = True
            if (piece := evidence_of(database, package)) is not None:
                says.append(piece)
        complete = True
    except InvalidDatabase:
        pass
    return Read(found, complete, tuple(says))
