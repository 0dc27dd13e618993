"""What an image contains, and which piece of evidence counts where several speak of the same tool.

Here: the result (`Contents`), the evidence, and the choice. Not here: which package of a distribution is which tool
(`plan/packages.py`), and how files are found and read (`inspection/contents/`). It is all for display and search;
whether the CLI can run is decided by `plan/compatibility.py` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from stromboli import visible

LONGEST_VERSION = 64  # characters
LONGEST_NAME = 128
# In the order in which they are shown.
TOOLS = (
    "python",
    "node",
    "go",
    "java",
    "ruby",
    "php",
    "rust",
    "dotnet",
    "bun",
    "deno",
    "perl",
    "git",
    "gcc",
    "make",
    "cmake",
    "pip",
    "uv",
    "npm",
    "pnpm",
    "yarn",
    "maven",
    "gradle",
    "bash",
    "curl",
    "wget",
    "jq",
    "psql",
    "mysql",
    "redis-cli",
    "docker",
    "kubectl",
    "terraform",
)
_ORDER = {name: place for place, name in enumerate(TOOLS)}
_VERSION = re.compile(rf"[0-9][0-9A-Za-z.+~_-]{{0,{LONGEST_VERSION - 1}}}")
_ID = re.compile(r"[0-9a-z._-]{1,64}")


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """What os-release says. `version` is empty for a rolling distribution."""

    id: str
    version: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of TOOLS. `version` is empty if it is there and nothing tells its version."""

    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in an image, in the order of TOOLS, each once. `os` is None if there is no os-release."""

    os: OperatingSystem | None = None
    tools: tuple[Tool, ...] = ()


class Source(IntEnum):
    """Where a piece of evidence comes from; the higher one counts.

    A file beside the program comes first: where a runtime was unpacked into /usr/local, the distribution's package of
    it is there too, and is later on the PATH. A variable says which version a program has whose presence was seen.
    """

    PROGRAM = 1
    VARIABLE = 2
    PACKAGE = 3
    FILE = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason to believe that a tool is there. `weight` decides between pieces from the same source."""

    tool: str
    version: str
    source: Source
    weight: int = 0


def choose(evidence: Iterable[Evidence]) -> tuple[Tool, ...]:
    """Each tool once, in the order of TOOLS.

    What has a version comes before what has none, then by source, weight, and the higher version.
    """
    best: dict[str, Evidence] = {}
    for piece in evidence:
        if piece.tool in _ORDER and (piece.tool not in best or _strength(piece) > _strength(best[piece.tool])):
            best[piece.tool] = piece
    return tuple(Tool(name, version_of(best[name].version)) for name in TOOLS if name in best)


def version_of(text: str) -> str:
    """The text if it looks like a version, otherwise empty."""
    return text if _VERSION.fullmatch(text) else ""


def operating_system(fields: Mapping[str, str]) -> OperatingSystem | None:
    """By the fields of os-release; None if there are none. A missing ID means `linux`, as os-release(5) says."""
    if not fields:
        return None
    identity = fields.get("ID", "").lower()
    name = fields.get("PRETTY_NAME") or fields.get("NAME", "")
    return OperatingSystem(
        id=identity if _ID.fullmatch(identity) else "linux",
        version=_shown(fields.get("VERSION_ID", ""), LONGEST_VERSION),
        name=_shown(name, LONGEST_NAME),
    )


def _strength(piece: Evidence) -> tuple[bool, int, int, tuple[int, ...]]:
    version = version_of(piece.version)
    return bool(version), piece.source, piece.weight, _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version)[:8])


def _shown(text: str, most: int) -> str:
    """One line of at most `most` characters, without control characters."""
    line = " ".join(visible.text(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
