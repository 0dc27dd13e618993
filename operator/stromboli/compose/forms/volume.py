"""A service's volume in short form: `SOURCE:TARGET[:OPTIONS]`, or a target alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stromboli.compose.forms.path import clean
from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

NAME = re.compile(r"[a-zA-Z0-9._-]+")

# What the last ones mean elsewhere (a bind's consistency on macOS, its label on SELinux) has no effect here.
OPTIONS = ("ro", "rw", "nocopy", "z", "Z", "cached", "delegated", "consistent")


@dataclass(frozen=True, slots=True)
class Volume:
    """`source` is a path as it is written (`bind`), a volume's name, or None for an anonymous volume."""

    kind: Literal["bind", "volume"]
    source: str | None
    target: str
    read_only: bool = False
    no_copy: bool = False


def parse(text: str) -> Volume:
    """Take a volume apart. The target is clean. Raises InvalidInput."""
    sections = _sections(text)
    if not all(sections):
        raise InvalidInput(f'"{quoted(text)}" has an empty part; write SOURCE:TARGET, such as ./data:/data')
    if len(sections) > 3:
        raise InvalidInput(f'"{quoted(text)}" has too many colons; write SOURCE:TARGET, or SOURCE:TARGET:ro')
    source = sections[0] if len(sections) > 1 else None
    kind = _kind(source) if source is not None else "volume"
    target = _target(sections[min(1, len(sections) - 1)])
    read_only = no_copy = False
    for option in sections[2].split(",") if len(sections) == 3 else ():
        if option not in OPTIONS:
            raise InvalidInput(
                f'the option "{quoted(option)}" is not supported: Compose ignores some that it does not know, and '
                f"mounts with write access then; supported are {', '.join(OPTIONS)}"
            )
        read_only = option == "ro" or (read_only and option != "rw")
        no_copy = no_copy or option == "nocopy"
    return Volume(kind, source, target, read_only, no_copy and kind == "volume")


def has_drive(text: str) -> bool:
    """Whether Compose takes it for a path of Windows."""
    return text.startswith("\\\\") or (len(text) > 1 and text[0].isalpha() and text[1] == ":")


def _sections(text: str) -> list[str]:
    """The parts between colons; the colon after a single letter separates nothing, as in Compose."""
    sections: list[str] = []
    letter = ""
    pieces = text.split(":")
    for n, piece in enumerate(pieces):
        if not letter and len(piece) == 1 and piece.isalpha() and n + 1 < len(pieces):
            letter = f"{piece}:"
        else:
            sections.append(letter + piece)
            letter = ""
    return sections


def _kind(source: str) -> Literal["bind", "volume"]:
    if has_drive(source):
        raise InvalidInput(
            f'"{quoted(source)}" is a path of Windows to Compose; a path of the node begins with ./, ../ or /, and the '
            "name of a volume has more than one letter"
        )
    if source[0] in "./~":
        return "bind"
    if not NAME.fullmatch(source):
        raise InvalidInput(
            f'"{quoted(source)}" is neither a path of the node, which begins with ./, ../ or /, nor a volume\'s name, '
            "which has letters, digits, _, . and -"
        )
    return "volume"


def _target(target: str) -> str:
    if has_drive(target):
        raise InvalidInput(
            f'"{quoted(target)}" is a path of Windows to Compose; the name of a volume has more than one letter, and '
            "the path in the container begins with /"
        )
    if not target.startswith("/"):
        raise InvalidInput(
            f'"{quoted(target)}" is not an absolute path of the container; write SOURCE:/TARGET, or /TARGET for an '
            "anonymous volume"
        )
    return clean(target)
