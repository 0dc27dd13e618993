"""README, CHANGELOG and docs/ for tests: the documents, and the scripts in them.

A fenced block whose language is `sh` is run as printed. A word after the language says where: `cluster` means as an
administrator of a cluster, `registry` on a node that reaches a registry, `compose` on one that has the images of the
services and a network for them, and nothing means on a local installation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(r"^```sh(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One script of a document; `line` is where it begins."""

    document: str
    line: int
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def objects(block: Block) -> list[dict[str, Any]]:
    """The objects that a script pipes to `kubectl apply -f -`."""
    heredocs = re.findall(r"<<'EOF'\n(.*?)^EOF$", block.text, re.MULTILINE | re.DOTALL)
    return [obj for text in heredocs for obj in yaml.safe_load_all(text)]


def blocks(path: Path) -> list[Block]:
    """The scripts of a document, in order."""
    text = path.read_text(encoding="utf-8")
    found = _FENCED.finditer(text)
    return [Block(path.name, text.count("\n", 0, m.start()) + 2, m[1] or "local", m[2]) for m in found]
