"""For the tests of compose/document: trees from YAML and back to plain values, and folders of files that are texts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from stromboli.compose.document import tree
from stromboli.compose.document.load import Document, Source, load
from stromboli.compose.document.node import Date, Node
from stromboli.errors import Unreadable

PROJECT = "/project"


def parsed(text: str, file: str = "compose.yaml") -> Node:
    """The tree of a YAML text, which may be indented."""
    return tree.parse(textwrap.dedent(text).encode(), file)


def plain(node: Node | None) -> Any:
    """The values without their places."""
    assert node is not None
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list | tuple):
        return [plain(child) for child in node.value]
    return node.value.text if isinstance(node.value, Date) else node.value


class Folder:
    """Files by their paths, relative ones in PROJECT. `read` has what was read."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self._files = {f"{PROJECT}/{path}" if path[0] != "/" else path: text for path, text in (files or {}).items()}
        self.was_read: list[str] = []

    def read(self, path: str, longest: int) -> bytes:
        self.was_read.append(path)
        if path not in self._files:
            raise Unreadable("is not there", missing=True)
        data = textwrap.dedent(self._files[path]).encode()
        if len(data) > longest:
            raise Unreadable(f"is too long: at most {longest} bytes")
        return data


def loaded(
    *texts: str,
    files: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    directory: str | None = PROJECT,
) -> Document:
    """The document that these texts make, the first `compose.yaml`, then `overlay1.yaml` and so on."""
    names = ("compose.yaml", *(f"overlay{n}.yaml" for n in range(1, len(texts))))
    sources = [Source(name, directory, textwrap.dedent(text).encode()) for name, text in zip(names, texts, strict=True)]
    return load(sources, variables or {}, Folder(files))
