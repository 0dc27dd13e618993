"""Reads an output of an attempt by offset, counted from the first byte ever written, although it is rotated.

An output is `NAME`, with the newest part, and `NAME.old`, with the part before it; what was before that is gone. The
supervisor notes in `NAME.from` where a file begins before it renames it (supervisor/1-records.sh). So if nothing is
renamed while both are opened and the note is read, the note is about one of the two, which their inodes tell apart.

All of it is hostile input, opened as in regular.py: an agent can write there. What it changes are its own run's logs.
Calls block briefly.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from stromboli.attempt import records, usage
from stromboli.attempt.regular import Regular, opened
from stromboli.models.lifecycle import HookKind
from stromboli.plan.masking import Masks
from stromboli.plan.redaction import KEYS

MOST = 16 * 1024 * 1024  # bytes that are read of an output; the supervisor keeps less, but an agent can write more
_WINDOW = 1024 * 1024  # bytes that are searched at a time
_MOST_SEARCHED = 64 * 1024 * 1024  # bytes of all outputs of an attempt that are searched for secrets
_TRIES = 8  # to open the files without a rotation meanwhile, which takes far longer than that
_MAX_NOTE = 64  # bytes
_NOTE = re.compile(rb"([0-9]{1,20}) ([0-9]{1,16})\n")


# What a step is called by those who ask for its output, beside the hooks.
SUPERVISOR = "supervisor"
_NAMES = {records.AGENT: "stdout", "stderr": "stderr", SUPERVISOR: records.RECORD}
_HOOK = re.compile(rf"({'|'.join(get_args(HookKind))})\[(0|[1-9][0-9]{{0,3}})\]")


@dataclass(frozen=True, slots=True)
class _Segment:
    """A file of an output; its first byte has the offset `begin`."""

    file: Regular
    begin: int

    @property
    def end(self) -> int:
        return self.begin + self.file.size


@dataclass(frozen=True, slots=True)
class _Note:
    """Where the file with this inode begins."""

    inode: int
    begin: int


class Output:
    """An output that is open."""

    def __init__(self, segments: tuple[_Segment, ...]) -> None:
        self._segments = segments

    @property
    def exists(self) -> bool:
        """Whether there is such an output; it may be empty."""
        return bool(self._segments)

    @property
    def begin(self) -> int:
        """The offset of the first byte that is kept."""
        return max(self._segments[0].begin, self.end - MOST) if self._segments else 0

    @property
    def end(self) -> int:
        """The offset after the last byte that is there now."""
        return self._segments[-1].end if self._segments else 0

    def part(self, begin: int, end: int) -> bytes:
        """Its bytes from `begin`, which is not below that of the output, to before `end`, as far as there are any."""
        found = b""
        for segment in self._segments:
            at = begin + len(found)
            if segment.begin <= at < end:
                found += segment.file.part(at - segment.begin, end - segment.begin)
        return found


class Text:
    """What is made up from an attempt's records, as an output that is never rotated."""

    exists = True
    begin = 0

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def end(self) -> int:
        return len(self._data)

    def part(self, begin: int, end: int) -> bytes:
        return self._data[begin:end]


def file_of(step: str) -> str:
    """The file in `out/` that a step's output comes from. Raises ValueError for what is the name of no step: `agent`,
    `stderr`, `supervisor`, or a hook such as `postStart[0]`.
    """
    if step in _NAMES:
        return _NAMES[step]
    if match := _HOOK.fullmatch(step):
        return f"{match[1]}.{match[2]}"
    raise ValueError(f"{step!r} is the name of no step")


def are_free_of(out: Path, masks: Masks) -> bool:
    """Whether all outputs can be read, and none has a secret in it. False also where it is not certain: if an agent has
    made more of them than is worth reading, or if one may begin with the rest of a secret that is longer than what is
    left out there when none is known. Raises as `output`.
    """
    try:
        with os.scandir(out) as entries:
            names = {entry.name for entry in itertools.islice(entries, usage.MAX_ENTRIES + 1)}
        with opened(out) as folder:
            if len(names) > usage.MAX_ENTRIES or not all(_is_readable(folder, name) for name in names):
                return False
    except (FileNotFoundError, PermissionError):
        return False
    left, unknown = _MOST_SEARCHED, Masks(KEYS).reach
    for name in {name.removesuffix(".old") for name in names} - {records.RECORD}:
        with output(out, name) as found:
            if (left := left - (found.end - found.begin)) < 0 or (found.begin and masks.reach > unknown):
                return False
            for at in range(found.begin, found.end, _WINDOW):
                end = min(at + _WINDOW + masks.reach, found.end)
                part = found.part(at, end)
                if len(part) < end - at or masks.is_in(part):
                    return False
    return True


def _is_readable(folder: int, name: str) -> bool:
    file = Regular.open(folder, name)
    if file is not None:
        file.close()
    return file is not None


@contextmanager
def output_of(out: Path, step: str) -> Iterator[Output | Text]:
    """The output of a step, open inside the block. Raises as `file_of` and `output`."""
    with output(out, file_of(step)) as found:
        yield Text(records.journal(found.part(0, records.MAX_RECORD))) if step == SUPERVISOR else found


@contextmanager
def output(out: Path, name: str) -> Iterator[Output]:
    """An output, open inside the block; one that is not there is empty. Raises OSError for an `out` that is unusable
    in other ways than that it is gone, or that an agent took away its permissions.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(opened(out))
        except (FileNotFoundError, PermissionError):
            yield Output(())
            return
        yield Output(_segments(stack, folder, name))


def _segments(stack: ExitStack, folder: int, name: str) -> tuple[_Segment, ...]:
    for _ in range(_TRIES):
        old = f"{name}.old"
        newer, older = _open(stack, folder, name), _open(stack, folder, old)
        noted = _noted(folder, f"{name}.from")
        if _is_still(folder, name, newer) and _is_still(folder, old, older):
            return _placed(older, newer, noted)
    return ()


def _placed(older: Regular | None, newer: Regular | None, noted: _Note | None) -> tuple[_Segment, ...]:
    if noted is None:  # it was never rotated, or the supervisor is older than this operator
        return _joined(older, newer, 0)
    if newer is not None and newer.found.st_ino == noted.inode:  # it is about to be renamed
        return _joined(older, newer, noted.begin - (older.size if older is not None else 0))
    return _joined(older, newer, noted.begin)


def _joined(older: Regular | None, newer: Regular | None, begin: int) -> tuple[_Segment, ...]:
    """The files that there are, the first of which begins at this offset."""
    found: list[_Segment] = []
    for file in (older, newer):
        if file is not None:
            found.append(_Segment(file, found[-1].end if found else max(begin, 0)))
    return tuple(found)


def _open(stack: ExitStack, folder: int, name: str) -> Regular | None:
    file = Regular.open(folder, name)
    if file is not None:
        stack.callback(file.close)
    return file


def _is_still(folder: int, name: str, file: Regular | None) -> bool:
    """Whether that is what has the name: nothing was renamed since it was opened, which keeps its inode from others."""
    try:
        found = os.lstat(name, dir_fd=folder)
    except OSError:
        return file is None
    return not stat.S_ISREG(found.st_mode) if file is None else os.path.samestat(found, file.found)


def _noted(folder: int, name: str) -> _Note | None:
    """The note; None if there is none, or it is not valid."""
    with ExitStack() as stack:
        file = _open(stack, folder, name)
        match = None if file is None else _NOTE.fullmatch(file.part(0, _MAX_NOTE))
    return None if match is None else _Note(int(match[1]), int(match[2]))
