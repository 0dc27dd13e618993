"""A project's files → one document: parsed, interpolated, brought into canonical form, extended and merged.

As in Compose, the first file's folder is the project's, and the paths of all its files count from there; those of a
file that is extended from count from its own folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stromboli.compose.document import canonical, extensions, merge, paths, tree
from stromboli.compose.document.budget import Budget
from stromboli.compose.document.extends import Extends, File
from stromboli.compose.document.interpolation import interpolate
from stromboli.compose.document.node import Node
from stromboli.compose.files import Files
from stromboli.compose.problem import problem
from stromboli.errors import ComposeProblem

MOST_SERVICES = 500


@dataclass(frozen=True, slots=True)
class Source:
    """One of a project's files. `name` is for messages; `directory` is None if it is no file of the node."""

    name: str
    directory: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """What a project's files mean together, in canonical form, with absolute paths and without extensions.

    Its top is a mapping, and so is `services` in it, which has at least one. `directory` is the project's folder.
    `warnings` are sentences.
    """

    root: Node
    directory: str | None
    variables: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(sources: Sequence[Source], variables: Mapping[str, str], files: Files) -> Document:
    """The document that the files, at least one, make: later ones over earlier ones. Raises ComposeProblem.

    `variables` answer `${…}`, and nothing else does.
    """
    directory = sources[0].directory if sources else None
    budget = Budget()
    extends = Extends(files, variables, budget, directory)
    warnings: list[str] = []
    merged: Node | None = None
    for source in sources:
        if (what := budget.fits(source.data)) is not None:
            raise ComposeProblem("file", what, source.name)
        root, unset = interpolate(tree.parse(source.data, source.name), variables)
        root = _complete(root, source.name, directory, extends)
        merged = root if merged is None else merge.merge(merged, root)
        warnings += unset
    if merged is None:
        raise ValueError("a document has at least one file")
    warnings += extends.warnings
    return Document(_finished(merged, directory), directory, variables, tuple(dict.fromkeys(warnings)))


def _complete(root: Node, name: str, directory: str | None, extends: Extends) -> Node:
    """One file's tree in canonical form, with its services extended and its paths absolute."""
    root = paths.top(canonical.top(root), directory)
    value = _mapping(root)
    _refuse_include(value.get("include"))
    services = value.get("services")
    if services is None or not isinstance(services.value, dict):
        return root
    if len(services.value) > MOST_SERVICES:
        what = f"has {len(services.value)} services; at most {MOST_SERVICES}"
        raise problem(("services",), what, services.mark)
    file = File(name, directory, services.value, main=True)
    complete = Node({each: extends.service(file, each) for each in services.value}, services.mark)
    return Node({**value, "services": complete}, root.mark)


def _refuse_include(include: Node | None) -> None:
    if include is None:
        return
    path = ("include", 0) if isinstance(include.value, tuple) and include.value else ("include",)
    what = "is not supported; name the files in environment.paths, or have services extend those of other files"
    raise problem(path, what, include.mark)


def _finished(root: Node, directory: str | None) -> Node:
    root = extensions.without(root)
    value = _mapping(root)
    services = value.get("services")
    members = _mapping(services) if services is not None else {}
    if services is None or not members:
        raise problem(
            ("services",), "is missing: a compose file has services", services.mark if services else root.mark
        )
    if len(members) > MOST_SERVICES:
        raise problem(("services",), f"has {len(members)} services; at most {MOST_SERVICES}", services.mark)
    built = {name: paths.build(each, ("services", name), directory) for name, each in members.items()}
    return Node({**value, "services": Node(built, services.mark)}, root.mark)


def _mapping(node: Node) -> Mapping[str, Node]:
    return node.value if isinstance(node.value, dict) else {}
