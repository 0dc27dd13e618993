"""Short forms → long syntax, in one file's tree: what is merged afterwards has one shape.

What comes out (null stays null, and what is not listed stays as it is):

| key | shape |
|---|---|
| environment, labels, annotations, sysctls | mapping of texts; a name alone is null |
| build.args, build.labels, build.additional_contexts | the same |
| build | mapping with `context` |
| command, entrypoint | list of words |
| depends_on, networks | mapping; from a list, `{condition: service_started, required: true}` and null |
| env_file | list of `{path, …}` |
| extends | `{service, …}` |
| extra_hosts | list of `{host, address}`, one for each address |
| healthcheck.test | list |
| ports | list of `{target, …}` with `published`, `host_ip` and `protocol`, one for each port of a range |
| secrets | list of `{source, …}` |
| tmpfs | list of short forms |
| ulimits | mapping of `{soft, hard}` |
| volumes | list of `{type, target, …}` with clean targets, and `source`, `read_only`, `volume.nocopy` |

Entries of lists are unique, and `item` says where each was written. Whether keys and values make sense otherwise is
checked in typed/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from stromboli.compose.document import unique
from stromboli.compose.document.node import Node, Value
from stromboli.compose.forms import extra_host, port, volume, words
from stromboli.compose.forms.path import clean
from stromboli.compose.problem import Path, problem
from stromboli.errors import InvalidInput

Rule = Callable[[Node, Path], Node]
"""The canonical form of a value that is not null; the path is for messages."""

MOST_ENTRIES = 5_000
"""Of a list whose entries may each stand for several."""

Parsed = TypeVar("Parsed")


def top(root: Node) -> Node:
    """The tree in canonical form but for the services, which are a mapping then. Raises ComposeProblem."""
    return _ROOT(root, ())


def service(node: Node, at: Path) -> Node:
    """One service in canonical form. Raises ComposeProblem."""
    return node if node.value is None else _SERVICE(node, at)


def _mapping(rules: Mapping[str, Rule], what: str) -> Rule:
    """A mapping whose keys have rules of their own."""

    def rule(node: Node, at: Path) -> Node:
        value = _members(node, at, what)
        changed = {
            key: rules[key](child, (*at, key))
            for key, child in value.items()
            if child.value is not None and key in rules
        }
        return Node({**value, **changed}, node.mark, node.item) if changed else node

    return rule


def _each(each: Rule, what: str) -> Rule:
    """A mapping of names."""

    def rule(node: Node, at: Path) -> Node:
        value = _members(node, at, what)
        changed = {key: child if child.value is None else each(child, (*at, key)) for key, child in value.items()}
        return Node(changed, node.mark, node.item)

    return rule


def _listed(key: unique.Key, what: str, each: Callable[[Node, Path], list[Node]] | None = None) -> Rule:
    """A list of unique entries, each of which may stand for several."""

    def rule(node: Node, at: Path) -> Node:
        if not isinstance(node.value, tuple):
            raise problem(at, f"must be a list of {what}", node.mark)
        entries: list[Node] = []
        for n, entry in enumerate(node.value):
            found = each(entry, (*at, n)) if each is not None else [entry]
            entries += [unique.numbered(one, n) for one in found]
            if len(entries) > MOST_ENTRIES:
                raise problem(at, f"has more than {MOST_ENTRIES} {what}", node.mark)
        return Node(unique.once(entries, key), node.mark, node.item)

    return rule


def _one_or_listed(rule: Rule) -> Rule:
    """A list, or its only entry."""

    def wrapped(node: Node, at: Path) -> Node:
        return rule(Node((Node(node.value, node.mark),), node.mark, node.item) if _is_text(node) else node, at)

    return wrapped


def _short(key: str) -> Rule:
    """A mapping, or a text that is one of its values."""
    return lambda node, at: Node({key: Node(node.value, node.mark)}, node.mark, node.item) if _is_text(node) else node


def _texts(node: Node, at: Path) -> Node:
    """A mapping, or a list of `KEY=VALUE` and `KEY`."""
    if isinstance(node.value, dict):
        return node
    if not isinstance(node.value, tuple):
        raise problem(at, "must be a mapping, or a list of KEY=VALUE", node.mark)
    found: dict[str, Node] = {}
    for n, entry in enumerate(node.value):
        if not isinstance(entry.value, str):
            raise problem((*at, n), "must be a text: KEY=VALUE, in quotes if it has a colon and a blank", entry.mark)
        key, separator, value = entry.value.partition("=")
        if not key:
            raise problem((*at, n), "has no name; write KEY=VALUE or KEY", entry.mark)
        found[key] = Node(value if separator else None, entry.mark, n)
    return Node(found, node.mark, node.item)


def _named(value: Callable[[Node], Value], what: str) -> Rule:
    """A mapping, or a list of its keys."""

    def rule(node: Node, at: Path) -> Node:
        if isinstance(node.value, dict):
            return node
        if not isinstance(node.value, tuple):
            raise problem(at, f"must be a mapping or a list of {what}", node.mark)
        found: dict[str, Node] = {}
        for n, entry in enumerate(node.value):
            if not isinstance(entry.value, str):
                raise problem((*at, n), "must be a name", entry.mark)
            found[entry.value] = Node(value(entry), entry.mark, n)
        return Node(found, node.mark, node.item)

    return rule


def _dependency(entry: Node) -> Value:
    return {"condition": Node("service_started", entry.mark), "required": Node(True, entry.mark)}


def _command(node: Node, at: Path) -> Node:
    if not isinstance(node.value, str):
        return node
    found = _parsed(words.parse, node.value, node, at)
    return Node(tuple(Node(word, node.mark) for word in found), node.mark, node.item)


def _test(node: Node, at: Path) -> Node:
    if not isinstance(node.value, str):
        return node
    return Node((Node("CMD-SHELL", node.mark), Node(node.value, node.mark)), node.mark, node.item)


def _ulimit(node: Node, at: Path) -> Node:
    if isinstance(node.value, dict):
        return node
    return Node({"soft": Node(node.value, node.mark), "hard": Node(node.value, node.mark)}, node.mark, node.item)


def _extra_hosts(node: Node, at: Path) -> Node:
    entries: list[Node] = []
    if isinstance(node.value, dict):
        for name, addresses in node.value.items():
            _parsed(extra_host.host, name, addresses, (*at, name))
            several = addresses.value if isinstance(addresses.value, tuple) else (addresses,)
            entries += [_extra_host(name, _address(each, (*at, name)), each, name) for each in several]
    elif isinstance(node.value, tuple):
        for n, entry in enumerate(node.value):
            if isinstance(entry.value, dict):
                entries.append(unique.numbered(entry, n))
                continue
            if not isinstance(entry.value, str):
                raise problem((*at, n), "must be a text: NAME=ADDRESS", entry.mark)
            name, found = _parsed(extra_host.parse, entry.value, entry, (*at, n))
            entries += [_extra_host(name, each, entry, n) for each in found]
    else:
        raise problem(at, "must be a mapping of names to addresses, or a list of NAME=ADDRESS", node.mark)
    return Node(unique.once(entries, unique.by_host), node.mark, node.item)


def _address(node: Node, at: Path) -> str:
    if not isinstance(node.value, str):
        raise problem(at, "must be a text: an IP address", node.mark)
    return _parsed(extra_host.address, node.value, node, at)


def _extra_host(name: str, address: str, entry: Node, item: int | str) -> Node:
    parts = {"host": Node(name, entry.mark), "address": Node(address, entry.mark)}
    return Node(parts, entry.mark, item)


def _port(entry: Node, at: Path) -> list[Node]:
    if isinstance(entry.value, dict):
        return [entry]
    if isinstance(entry.value, bool) or not isinstance(entry.value, str | int):
        raise problem(at, 'must be a port: a number, a text such as "8080:80", or a mapping with target', entry.mark)
    return [_long_port(each, entry) for each in _parsed(port.parse, str(entry.value), entry, at)]


def _long_port(found: port.Port, entry: Node) -> Node:
    parts: dict[str, Value] = {
        "target": found.target,
        "published": found.published,
        "host_ip": found.host_ip,
        "protocol": found.protocol,
    }
    return _made(parts, entry)


def _volume(entry: Node, at: Path) -> list[Node]:
    if isinstance(entry.value, str):
        found = _parsed(volume.parse, entry.value, entry, at)
        parts: dict[str, Value] = {
            "type": found.kind,
            "source": found.source,
            "target": found.target,
            "read_only": found.read_only or None,
            "volume": {"nocopy": Node(True, entry.mark)} if found.no_copy else None,
        }
        return [_made(parts, entry)]
    if not isinstance(entry.value, dict):
        raise problem(at, "must be a text such as ./data:/data, or a mapping with type and target", entry.mark)
    target = entry.value.get("target")
    if target is None or not isinstance(target.value, str) or not target.value:
        return [entry]
    return [Node({**entry.value, "target": Node(clean(target.value), target.mark)}, entry.mark, entry.item)]


def _made(parts: Mapping[str, Value], entry: Node) -> Node:
    """A mapping that a text stands for, without the parts that are null."""
    value = {key: Node(part, entry.mark) for key, part in parts.items() if part is not None}
    return Node(value, entry.mark, entry.item)


def _entry(rule: Rule) -> Callable[[Node, Path], list[Node]]:
    return lambda entry, at: [rule(entry, at)]


def _members(node: Node, at: Path, what: str) -> Mapping[str, Node]:
    if not isinstance(node.value, dict):
        raise problem(at, f"must be a mapping {what}", node.mark)
    return node.value


def _is_text(node: Node) -> bool:
    return isinstance(node.value, str)


def _parsed(parse: Callable[[str], Parsed], text: str, node: Node, at: Path) -> Parsed:
    try:
        return parse(text)
    except InvalidInput as e:
        raise problem(at, e.message, node.mark) from None


def _services(node: Node, at: Path) -> Node:
    _members(node, at, "of services, each with its name")
    return node


_BUILD = _mapping(
    {
        "additional_contexts": _texts,
        "args": _texts,
        "extra_hosts": _extra_hosts,
        "labels": _texts,
        "tags": _listed(unique.by_value, "names"),
    },
    "with keys such as context, or the path of a folder",
)
_LABELS = _mapping({"labels": _texts}, "of its settings")

_SERVICE = _mapping(
    {
        "annotations": _texts,
        "build": lambda node, at: _BUILD(_short("context")(node, at), at),
        "cap_add": _listed(unique.by_value, "capabilities"),
        "cap_drop": _listed(unique.by_value, "capabilities"),
        "command": _command,
        "depends_on": _named(_dependency, "services"),
        "deploy": _LABELS,
        "entrypoint": _command,
        "env_file": _one_or_listed(_listed(unique.by_path, "files", _entry(_short("path")))),
        "environment": _texts,
        "expose": _listed(unique.by_port, "ports"),
        "extends": _short("service"),
        "extra_hosts": _extra_hosts,
        "healthcheck": _mapping({"test": _test}, "with keys such as test and interval"),
        "labels": _texts,
        "links": _listed(unique.by_value, "services"),
        "networks": _named(lambda entry: None, "networks"),
        "ports": _listed(unique.by_published, "ports", _port),
        "profiles": _listed(unique.by_value, "names"),
        "secrets": _listed(unique.by_secret_target, "secrets", _entry(_short("source"))),
        "sysctls": _texts,
        "tmpfs": _one_or_listed(_listed(unique.by_value, "folders")),
        "ulimits": _each(_ulimit, "of limits"),
        "volumes": _listed(unique.by_target, "volumes", _volume),
    },
    "with keys such as image",
)

_ROOT = _mapping(
    {
        "networks": _each(_LABELS, "of networks"),
        "secrets": _each(_LABELS, "of secrets"),
        "services": _services,
        "volumes": _each(_LABELS, "of volumes"),
    },
    "with keys such as services",
)
