"""What the CLI's binary requires of an image. The binary is 400 MB, of which some 20 KiB are read.

A CLI that is a script, or static, requires nothing itself; then the minimum that the product promises applies. Only
versions that the binary *needs* count: it also defines a GLIBC_2.26 of its own.
"""

from __future__ import annotations

from typing import BinaryIO

from stromboli import elf
from stromboli.errors import InvalidElf
from stromboli.plan.compatibility import GLIBC_FLOOR, CLINeeds, version_of


def needs_of(file: BinaryIO) -> CLINeeds:
    """The needs of the CLI in this open, seekable file. Raises OSError, but never for the file's content."""
    try:
        facts = elf.read(file)
    except InvalidElf:
        return CLINeeds()
    versions = dict(facts.versions_needed)
    wanted = (version_of(name) for names in versions.values() for name in names)
    return CLINeeds(
        architecture=facts.architecture,
        interpreter=facts.interpreter,
        libraries=tuple((library, versions.get(library, ())) for library in facts.needed),
        glibc=max((version for version in wanted if version), default=GLIBC_FLOOR),
    )
