"""Package databases that are text: paragraphs of `NAME: value` lines with an empty line after each of them.

A database is read in pieces, and of each piece only the wanted fields are looked at, so that one of 100 MB takes no
more memory than one of 100 kB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from stromboli.errors import InvalidDatabase

LIMIT = 32 * 1024 * 1024  # bytes; what is beyond is not read. The largest real ones have about 10 MB
MOST = 50_000  # paragraphs
_LONGEST_LINE = 64 * 1024  # bytes that are kept of a line which is in more than one piece
_LONGEST_VALUE = 256  # bytes


def pattern(*fields: str) -> re.Pattern[bytes]:
    """What `paragraphs` looks for: a line with one of the fields, or an empty one."""
    names = "|".join(re.escape(field) for field in fields)
    return re.compile(rf"^(?:({names}):[ \t]*([^\n]{{0,{_LONGEST_VALUE}}})[^\n]*|\r?)$".encode(), re.MULTILINE)


def paragraphs(chunks: Iterable[bytes], wanted: re.Pattern[bytes]) -> Iterator[dict[str, str]]:
    """The wanted fields of each paragraph that has any. Errors of `chunks` propagate.

    Raises InvalidDatabase after the last one if there are more than MOST, or if the text ends inside a paragraph.
    """
    found: dict[str, str] = {}
    count = 0
    for piece in _whole_lines(chunks):
        for match in wanted.finditer(piece):
            if match[1] is not None:
                found[match[1].decode("ascii")] = match[2].decode("utf-8", "replace").strip()
            elif found:
                yield found
                found = {}
                count += 1
                if count == MOST:
                    raise InvalidDatabase(f"has more than {MOST} packages")
    if found:
        yield found
        raise InvalidDatabase("ends in the middle of a package")


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content in pieces that end where a line does, without its line feed; the last piece as it is."""
    rest, taken = b"", 0
    for chunk in chunks:
        taken += len(chunk)
        if taken > LIMIT:
            return
        lines, feed, last = chunk.rpartition(b"\n")
        if feed:
            yield rest + lines
            rest = last
        else:
            rest = (rest + last)[:_LONGEST_LINE]  # the end of a line that is too long is left out
    if rest:
        yield rest
