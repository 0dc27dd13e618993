"""dpkg's database: the file `status`, or in distroless images a folder with a paragraph for each package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stromboli.inspection.contents.paragraphs import paragraphs, pattern
from stromboli.plan.packages import Package

STATUS = "/var/lib/dpkg/status"
FOLDER = "/var/lib/dpkg/status.d"
_WANTED = pattern("Package", "Status", "Version")


def packages(chunks: Iterable[bytes]) -> Iterator[Package]:
    """The installed packages. One that was removed, with its configuration left behind, still has a paragraph."""
    for fields in paragraphs(chunks, _WANTED):
        name, version = fields.get("Package"), fields.get("Version")
        if name and version and fields.get("Status", "install ok installed").endswith(" installed"):
            yield Package(name, version)
