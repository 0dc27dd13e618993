"""Shapes of `claude.mcpConfigs`: the table is what the real CLI was seen to take, or to leave out without a word."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.plan import mcp

FIELD = "spec.claude.mcpConfigs[0]"
URL = "http://127.0.0.1:1/x"


@pytest.mark.parametrize(
    "server",
    [
        {"command": "python3", "args": ["-m", "server"], "env": {"A": "b"}},
        {"type": "stdio", "command": "python3"},
        {"command": "python3", "url": URL},
        {"command": "python3", "unknown": 1},
        *({"type": kind, "url": URL, "headers": {"A": "b"}} for kind in ("http", "sse", "ws", "streamable-http")),
    ],
)
def test_what_the_cli_takes(server: dict[str, Any]) -> None:
    mcp.check({"mcpServers": {"one": server}, "other": 1}, FIELD)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"url": URL}, "mcpServers.one: has a url and no type; add type: http"),
        ({"type": "ftp", "url": URL}, "mcpServers.one.type: is 'ftp'; write stdio, http, sse, ws or streamable-http"),
        ({"type": ["http"], "url": URL}, "mcpServers.one.type: is ['http']; write stdio"),
        ({"type": "stdio"}, "mcpServers.one.command: is missing"),
        ({"command": ""}, "mcpServers.one.command: is not a text"),
        ({"command": ["python3"]}, "mcpServers.one.command: is not a text"),
        ({"command": "x", "args": "y"}, "mcpServers.one.args: is not a list of strings"),
        ({"command": "x", "args": [1]}, "mcpServers.one.args: is not a list of strings"),
        ({"command": "x", "args": None}, "mcpServers.one.args: is not a list of strings"),
        ({"command": "x", "env": {"A": 1}}, "mcpServers.one.env: is not an object of strings"),
        ({"command": "x", "env": None}, "mcpServers.one.env: is not an object of strings"),
        ({"type": "http"}, "mcpServers.one.url: is missing"),
        ({"type": "http", "url": URL, "headers": {"A": 1}}, "mcpServers.one.headers: is not an object of strings"),
        ("x", "mcpServers.one: is not an object"),
    ],
)
def test_what_the_cli_leaves_out_is_refused(server: Any, said: str) -> None:
    with pytest.raises(Refused) as caught:
        mcp.check({"mcpServers": {"one": server}}, FIELD)
    assert f"{FIELD}.{said}" in caught.value.message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mcpserver": {}}, "has mcpserver where mcpServers is meant"),
        ({"mcpservers": {}}, "has mcpservers where mcpServers is meant"),
        ({"one": {"command": "x"}}, "has no mcpServers"),
        ({}, "has no mcpServers"),
        ({"mcpServers": []}, "mcpServers: is not an object"),
    ],
)
def test_a_document_without_servers_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        mcp.check(config, FIELD)
    assert said in caught.value.message
    assert caught.value.message.startswith(FIELD)


def test_names_of_all_documents() -> None:
    first: Any = {"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}}}
    assert mcp.names([first, '{"mcpServers": {"b": {}, "c": {}}}', "/etc/mcp.json"]) == ("a", "b", "c")
