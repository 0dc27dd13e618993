"""The shape of `claude.mcpConfigs`: what the CLI takes as an MCP server, checked before anything starts. Pure.

The CLI exits if there is no `mcpServers`, and silently leaves out a server that it cannot parse (both seen with
2.1.332), so that the agent would work without it. So only the shapes that it was seen to accept are allowed here. A
file in the container that is given by its path cannot be read before the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from stromboli.plan import documents
from stromboli.plan.refusal import invalid

_KEY = "mcpServers"
_LOCAL = "stdio"
_REMOTE = ("http", "sse", "ws", "streamable-http")
_EXAMPLE = '{"mcpServers": {"docs": {"type": "http", "url": "https://…"}}}'


def check(config: Mapping[str, Any], field: str) -> None:
    """One document of `claude.mcpConfigs`. Raises Refused(InvalidSpec)."""
    servers = config.get(_KEY)
    if servers is None:
        similar = next((key for key in config if key.lower().rstrip("s") == _KEY.lower().rstrip("s")), None)
        said = f"has {similar} where {_KEY} is meant" if similar else f"has no {_KEY}"
        raise invalid(field, f"{said}; write {_EXAMPLE}")
    if not isinstance(servers, dict):
        raise invalid(f"{field}.{_KEY}", f"is not an object of servers by their names; write {_EXAMPLE}")
    for name, server in servers.items():
        _check_server(server, f"{field}.{_KEY}.{name}")


def names(configs: Iterable[JsonValue]) -> tuple[str, ...]:
    """The servers that the documents name, except those in files of the container. Only for checked documents."""
    return tuple(dict.fromkeys(name for config in configs for name in _names(config)))


def _names(config: JsonValue) -> Iterator[str]:
    document = documents.mapping(config, "spec.claude.mcpConfigs", path=True)
    if document is not None:
        yield from document[_KEY]


def _check_server(server: Any, field: str) -> None:
    if not isinstance(server, dict):
        raise invalid(field, "is not an object; write a command, or a type and a url")
    kind = server.get("type", _LOCAL)
    if kind == _LOCAL:
        _check_local(server, field)
    elif kind in _REMOTE:
        _check_text(server, "url", field, f"a server of type {kind} is reached at a url")
        _check_texts(server, "headers", field)
    else:
        raise invalid(f"{field}.type", f"is {kind!r}; write {_LOCAL}, {', '.join(_REMOTE[:-1])} or {_REMOTE[-1]}")


def _check_local(server: Mapping[str, Any], field: str) -> None:
    if "command" not in server and "url" in server:
        raise invalid(field, "has a url and no type; add type: http (or sse, ws)")
    _check_text(server, "command", field, "it is the program that is run, its arguments being args")
    arguments = server.get("args", [])
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise invalid(f"{field}.args", "is not a list of strings; write one string for each argument")
    _check_texts(server, "env", field)


def _check_text(server: Mapping[str, Any], key: str, field: str, why: str) -> None:
    value = server.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"{field}.{key}", f"is {'missing' if value is None else 'not a text'}: {why}")


def _check_texts(server: Mapping[str, Any], key: str, field: str) -> None:
    values = server.get(key, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise invalid(f"{field}.{key}", "is not an object of strings; put numbers in quotation marks")
