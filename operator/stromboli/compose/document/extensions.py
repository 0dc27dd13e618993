"""Extensions: keys that begin with `x-`, for people and other programs. They go once everything is merged.

Where keys are names of the user's own, `x-…` is a name: `services.x-template` is a service, as in Compose.
"""

from __future__ import annotations

import operator

from stromboli.compose.document.node import Node

_OF_NAMES = frozenset(
    {
        "additional_contexts",
        "annotations",
        "args",
        "configs",
        "depends_on",
        "driver_opts",
        "environment",
        "labels",
        "networks",
        "options",
        "secrets",
        "services",
        "sysctls",
        "ulimits",
        "volumes",
    }
)


def without(root: Node) -> Node:
    """The tree without extensions."""
    return _without(root, names=False)


def _without(node: Node, *, names: bool) -> Node:
    value = node.value
    if isinstance(value, dict):
        members = {
            key: child
            if isinstance(child.value, str)  # most are
            else _without(child, names=not names and key in _OF_NAMES)
            for key, child in value.items()
            if names or not key.startswith("x-")
        }
        same = len(members) == len(value) and all(map(operator.is_, members.values(), value.values()))
        return node if same else Node(members, node.mark, node.item)
    if isinstance(value, tuple):
        entries = tuple([child if isinstance(child.value, str) else _without(child, names=False) for child in value])
        return node if all(map(operator.is_, entries, value)) else Node(entries, node.mark, node.item)
    return node
