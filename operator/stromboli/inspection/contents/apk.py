"""apk's database: one file, whose fields have names of one letter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stromboli.inspection.contents.paragraphs import paragraphs, pattern
from stromboli.plan.packages import Package

# Where it is from Alpine 3.22 on, and where it was before.
FILES = ("/usr/lib/apk/db/installed", "/lib/apk/db/installed")
_WANTED = pattern("P", "V")


def packages(chunks: Iterable[bytes]) -> Iterator[Package]:
    """The installed packages."""
    for fields in paragraphs(chunks, _WANTED):
        name, version = fields.get("P"), fields.get("V")
        if name and version:
            yield Package(name, version)
