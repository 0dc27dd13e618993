"""A tmpfs in short form: `TARGET[:OPTIONS]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stromboli.compose.forms import size
from stromboli.compose.forms.path import clean
from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

OPTIONS = ("rw", "ro", "exec", "noexec", "nosuid", "nodev", "size=…", "mode=…")
"""What a mount may be given. Only ro, size and mode have an effect: files can be executed, but no devices used."""

MODES = 0o1777  # those of folders; set-id bits are of no use there


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """`size` in bytes."""

    target: str
    size: int | None = None
    mode: int | None = None
    read_only: bool = False


def parse(text: str) -> Tmpfs:
    """Take a tmpfs apart. The target is clean. Raises InvalidInput."""
    target, colon, options = text.partition(":")
    if not target.startswith("/"):
        raise InvalidInput(f'"{quoted(target)}" is not an absolute path of the container; write /TARGET')
    bytes_, mode, read_only = None, None, False
    for option in options.split(",") if colon else ():
        match option.partition("="):
            case ("ro" | "rw", "", ""):
                read_only = option == "ro"
            case ("size", "=", value):
                bytes_ = size.parse(value)
            case ("mode", "=", value):
                mode = _mode(value)
            case _ if option not in OPTIONS:
                raise InvalidInput(
                    f'the option "{quoted(option)}" of a tmpfs is not supported; supported are {", ".join(OPTIONS)}'
                )
    return Tmpfs(clean(target), bytes_, mode, read_only)


def _mode(text: str) -> int:
    mode = int(text, 8) if re.fullmatch(r"[0-7]{1,6}", text) else -1
    if not 0 <= mode <= MODES:
        raise InvalidInput(f'"{quoted(text)}" is not the mode of a folder; write it in octal, 1777 at most')
    return mode
