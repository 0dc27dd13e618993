"""The CLI's binary → what it asks of an image. It is 400 MB; some 20 KiB of it are looked at.

A CLI that is a script, or static, asks for nothing itself; the floor that the product promises holds then.
Only versions that the binary *wants* count: it also defines a GLIBC_2.26 of its own.
"""

from __future__ import annotations

from typing import BinaryIO

from stromboli.errors import InvalidElf
from stromboli.inspection import elf
from stromboli.plan.compatibility import GLIBC_FLOOR, CLINeeds, version_of


def needs_of(file: BinaryIO) -> CLINeeds:
    """What the CLI in this open, seekable file needs. Raises OSError, and nothing for what is in the file."""
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
