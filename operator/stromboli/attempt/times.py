"""When which part of an output was written: lines in an attempt's folder, beside `out/`, out of reach of its container.

    SECONDS STDOUT STDERR     by that time (since 1970), the outputs had come to these offsets

Only the operator writes them, so what was written while it was down counts as written when it was back. Calls block
briefly.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from stromboli import files

NAMES = ("stdout", "stderr")
_FILE = "times"
_MOST = 4 * 1024 * 1024  # bytes that are read; a week of lines is a tenth of it
_LINE = re.compile(rb"([0-9]{1,11}) ([0-9]{1,16}) ([0-9]{1,16})")


def note(attempt: Path, seconds: float, ends: Mapping[str, int]) -> None:
    """Add a line to the times of the attempt in that folder. Raises OSError."""
    line = f"{seconds:.0f} {' '.join(str(ends[name]) for name in NAMES)}\n"
    with open(os.open(attempt / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(line.encode("ascii"))


def offset(attempt: Path, name: str, seconds: float) -> int:
    """Before this offset of an output, everything was written by that time: the most that is known of it."""
    found = 0
    for at, ends in _lines(attempt):
        if at <= seconds:
            found = max(found, ends[NAMES.index(name)])
    return found


def _lines(attempt: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    try:
        data = files.beginning(attempt / _FILE, _MOST)
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        if match := _LINE.fullmatch(line):
            at, *ends = map(int, match.groups())
            yield at, tuple(ends)
