"""Relative paths → absolute and clean ones, by the folder of the file in which they stand. Nothing is looked up.

Whether a path may be used is for others: links are resolved and policies asked where files are read and folders bound.
`extends.file` is resolved in extends.py. A path that is no text, or of a key that is not supported, is left alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping

from stromboli.compose.document.node import Node
from stromboli.compose.forms.path import clean
from stromboli.compose.forms.volume import has_drive
from stromboli.compose.problem import Path, problem, quoted

LONGEST = 4096  # Linux's PATH_MAX

Rule = Callable[[Node, Path, str | None], Node]

_REMOTE = ("github.com/", "git@", "service:")


def absolute(node: Node, at: Path, directory: str | None) -> Node:
    """A path of the node. Raises ComposeProblem if it has no meaning there."""
    text = node.value
    if not isinstance(text, str):
        return node
    if not text or "\0" in text or len(text) > LONGEST:
        raise problem(at, "is not a path: it is empty, has a NUL character, or is too long", node.mark)
    if text.startswith("~"):
        what = "has a path that begins with ~, which is nobody's home here; write it with / or ./ at its beginning"
        raise problem(at, what, node.mark)
    if has_drive(text):
        raise problem(
            at, f'has a path of Windows, "{quoted(text)}"; write one with / or ./ at its beginning', node.mark
        )
    if not text.startswith("/") and directory is None:
        what = (
            f'has a relative path, "{quoted(text)}", and this stack is in no folder; write an absolute path, or have '
            "the stack in a file on the node (environment.path)"
        )
        raise problem(at, what, node.mark)
    return Node(clean(posixpath.join(directory or "/", text)), node.mark, node.item)


def service(node: Node, at: Path, directory: str | None) -> Node:
    """A service, in canonical form, with the paths that stand in it. Raises ComposeProblem."""
    return _SERVICE(node, at, directory)


def top(root: Node, directory: str | None) -> Node:
    """A file's tree with the paths outside of services. Raises ComposeProblem."""
    return _ROOT(root, (), directory)


def build(node: Node, at: Path, directory: str | None) -> Node:
    """A service, completely merged, with its build's context and Dockerfile. `directory` is the project's.

    A build without a context has the project's folder; the Dockerfile counts from the context, wherever it stands.
    """
    value = node.value
    found = value.get("build") if isinstance(value, dict) else None
    if found is None or not isinstance(found.value, dict) or not isinstance(value, dict):
        return node
    parts = dict(found.value)
    context, dockerfile = parts.get("context"), parts.get("dockerfile")
    if (context is None or context.value is None) and directory is not None:
        context = parts["context"] = Node(directory, found.mark)
    folder = context.value if context is not None and isinstance(context.value, str) else None
    if dockerfile is not None and dockerfile.value != "" and folder is not None and not _is_remote(folder):
        parts["dockerfile"] = absolute(dockerfile, (*at, "build", "dockerfile"), folder)
    return Node({**value, "build": Node(parts, found.mark, found.item)}, node.mark, node.item)


def _mapping(rules: Mapping[str, Rule]) -> Rule:
    def rule(node: Node, at: Path, directory: str | None) -> Node:
        if not isinstance(node.value, dict):
            return node
        changed = {key: rules[key](child, (*at, key), directory) for key, child in node.value.items() if key in rules}
        return Node({**node.value, **changed}, node.mark, node.item) if changed else node

    return rule


def _each(each: Rule) -> Rule:
    def rule(node: Node, at: Path, directory: str | None) -> Node:
        if isinstance(node.value, dict):
            members = {key: each(child, (*at, key), directory) for key, child in node.value.items()}
            return Node(members, node.mark, node.item)
        if isinstance(node.value, tuple):
            entries = tuple(each(child, (*at, _index(child, n)), directory) for n, child in enumerate(node.value))
            return Node(entries, node.mark, node.item)
        return node

    return rule


def _index(child: Node, n: int) -> int | str:
    return n if child.item is None else child.item


def _context(node: Node, at: Path, directory: str | None) -> Node:
    """A folder, or a place elsewhere, which is for others to refuse."""
    return node if isinstance(node.value, str) and _is_remote(node.value) else absolute(node, at, directory)


def _is_remote(text: str) -> bool:
    return "://" in text or text.startswith(_REMOTE)


def _volume(node: Node, at: Path, directory: str | None) -> Node:
    kind = node.value.get("type") if isinstance(node.value, dict) else None
    return _SOURCE(node, at, directory) if kind is not None and kind.value == "bind" else node


_SOURCE = _mapping({"source": absolute})

_SERVICE = _mapping(
    {
        "build": _mapping({"context": _context, "additional_contexts": _each(_context)}),
        "env_file": _each(_mapping({"path": absolute})),
        "volumes": _each(_volume),
    }
)

_ROOT = _mapping({"secrets": _each(_mapping({"file": absolute}))})
