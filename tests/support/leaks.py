"""Where secrets should not be: which files of a folder have words in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def files_with(folder: Path, words: Iterable[str]) -> list[Path]:
    """The files below a folder that have one of these words in them."""
    wanted, found = [word.encode() for word in words], []
    for where, _, files in os.walk(folder):
        for name in files:
            path = Path(where) / name
            if path.is_symlink() or not path.is_file():
                continue
            content = path.read_bytes()
            if any(word in content for word in wanted):
                found.append(path)
    return found
