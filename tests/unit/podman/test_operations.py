"""What a call to Podman is counted as: never with a name of anybody's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.podman import operations

SOURCES = Path(operations.__file__).parent


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/_ping", "ping"),
        ("GET", "/info", "info"),
        ("POST", "/containers/create", "containers create"),
        ("GET", "/containers/json", "containers list"),
        ("GET", "/containers/a/json", "containers inspect"),
        ("DELETE", "/containers/json", "containers remove"),
        ("POST", "/containers/a/wait", "containers wait"),
        ("PUT", "/containers/a/archive", "containers archive"),
        ("POST", "/exec/a/start", "exec start"),
        ("GET", "/images/quay.io/a/b:1/json", "images inspect"),
        ("DELETE", "/images/quay.io/a/json", "images remove"),
        ("POST", "/images/create", "images create"),
        ("GET", "/images/search", "images search"),
        ("POST", "/containers/a/shrug", "containers other"),
        ("GET", "/pods/a/json", "other"),
        ("GET", "/", "other"),
    ],
)
def test_the_operation(method: str, path: str, operation: str) -> None:
    assert operations.of(method, path) == operation


@given(st.sampled_from(["GET", "POST", "DELETE"]), st.from_regex(r"(/[a-z_{}%:@.]{0,9}){1,4}", fullmatch=True))
def test_whatever_is_called_there_are_a_few_dozen(method: str, path: str) -> None:
    words = {*operations._OF_ALL.values(), *operations._OF_ONE.values(), "remove", "other"}
    known = {*operations._ALONE.values(), "other", *(f"{k} {w}" for k in operations._KINDS for w in words)}
    assert operations.of(method, path) in known


def test_every_call_that_is_made_has_a_name() -> None:
    """By the paths in the sources, with a name in the place of each expression."""
    found = 0
    for file in SOURCES.glob("*.py"):
        for method, path in re.findall(r'"(GET|POST|PUT|DELETE|HEAD)",\s*f?"([^"]+)"', file.read_text()):
            plain = re.sub(r"\{_path\(\w+\)\}", "/containers/x", path)
            assert "other" not in operations.of(method, re.sub(r"\{[^}]*\}", "x", plain)), (file.name, path)
            found += 1
    assert found > 25
