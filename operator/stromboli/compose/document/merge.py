"""Two trees in canonical form → one, in which the second has the last word, as Compose merges files and `extends`.

Mappings are merged by key, other values are replaced, lists are appended. What differs from that is in the rules below.
Null in the second tree changes nothing, except for one of several texts by key (environment, labels, …) and for what is
replaced as a whole (command, entrypoint, a health check's test).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stromboli.compose.document import unique
from stromboli.compose.document.node import Node
from stromboli.compose.problem import Path, problem

Rule = Callable[[Node, Node, Path], Node]
"""Merges two values of the same key. The path is for messages."""


def merge(base: Node, over: Node) -> Node:
    """Two files' trees. Raises ComposeProblem."""
    return _ROOT(base, over, ())


def service(base: Node, over: Node, at: Path) -> Node:
    """A service and one that extends it. Raises ComposeProblem."""
    return _SERVICE(base, over, at)


def _replaced(base: Node, over: Node, at: Path) -> Node:
    return over


def _deep(base: Node, over: Node, at: Path) -> Node:
    """What holds for keys without a rule."""
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return _merged(base, over, base.value, over.value, at, {}, _deep)
    return _other(base, over, at, None)


def _mapping(rules: Mapping[str, Rule], each: Rule = _deep) -> Rule:
    """A mapping some of whose keys have rules of their own."""

    def rule(base: Node, over: Node, at: Path) -> Node:
        if isinstance(base.value, dict) and isinstance(over.value, dict):
            return _merged(base, over, base.value, over.value, at, rules, each)
        return _other(base, over, at, None)

    return rule


def _listed(key: unique.Key) -> Rule:
    """A list in which a later entry replaces one that stands for the same."""
    return lambda base, over, at: _other(base, over, at, key)


def _logging(base: Node, over: Node, at: Path) -> Node:
    """The options of one driver mean nothing to another one."""
    drivers = [each.value.get("driver") for each in (base, over) if isinstance(each.value, dict)]
    known = {driver.value for driver in drivers if driver is not None and isinstance(driver.value, str)}
    return over if len(known) > 1 else _deep(base, over, at)


def _merged(
    base: Node,
    over: Node,
    base_value: Mapping[str, Node],
    over_value: Mapping[str, Node],
    at: Path,
    rules: Mapping[str, Rule],
    each: Rule,
) -> Node:
    merged = dict(base_value)
    for key, child in over_value.items():
        known = merged.get(key)
        merged[key] = child if known is None else rules.get(key, each)(known, child, (*at, key))
    return Node(merged, base.mark, base.item)


def _other(base: Node, over: Node, at: Path, key: unique.Key | None) -> Node:
    """Two values that are not both mappings."""
    if over.value is None:
        return base
    if isinstance(base.value, tuple) and isinstance(over.value, tuple):
        entries = [unique.numbered(entry, n) for list_ in (base.value, over.value) for n, entry in enumerate(list_)]
        return Node(unique.once(entries, key) if key is not None else tuple(entries), base.mark, base.item)
    if isinstance(base.value, tuple | dict):
        what = "mapping" if isinstance(base.value, dict) else "list"
        raise problem(at, f"must be a {what}, to be merged with the one in {base.mark}", over.mark)
    return over


_TEXTS = _mapping({}, _replaced)
_LABELS = _mapping({"labels": _TEXTS})

_SERVICE = _mapping(
    {
        "annotations": _TEXTS,
        "build": _mapping(
            {
                "additional_contexts": _TEXTS,
                "args": _TEXTS,
                "extra_hosts": _listed(unique.by_host),
                "labels": _TEXTS,
                "tags": _listed(unique.by_value),
            }
        ),
        "cap_add": _listed(unique.by_value),
        "cap_drop": _listed(unique.by_value),
        "command": _replaced,
        "deploy": _LABELS,
        "entrypoint": _replaced,
        "env_file": _listed(unique.by_path),
        "environment": _TEXTS,
        "expose": _listed(unique.by_port),
        "extra_hosts": _listed(unique.by_host),
        "healthcheck": _mapping({"test": _replaced}),
        "labels": _TEXTS,
        "links": _listed(unique.by_value),
        "logging": _logging,
        "networks": _mapping({}, _mapping({"aliases": _listed(unique.by_value)})),
        "ports": _listed(unique.by_published),
        "profiles": _listed(unique.by_value),
        "secrets": _listed(unique.by_secret_target),
        "sysctls": _TEXTS,
        "tmpfs": _listed(unique.by_value),
        "ulimits": _TEXTS,
        "volumes": _listed(unique.by_target),
    }
)

_ROOT = _mapping(
    {
        "networks": _mapping({}, _LABELS),
        "secrets": _mapping({}, _LABELS),
        "services": _mapping({}, _SERVICE),
        "volumes": _mapping({}, _LABELS),
    }
)
