"""What is taken from an image's environment, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.inspection.contents import variables
from stromboli.inspection.contents.commands import COMMANDS
from stromboli.inspection.opener import DEFAULT_PATH
from stromboli.plan.contents import LONGEST_VERSION, TOOLS

NAMES = st.sampled_from(["PATH", "JAVA_HOME", "NODE_VERSION", "JAVA_VERSION", "", "X"])


@given(st.lists(st.one_of(st.text(), st.builds(lambda name, value: f"{name}={value}", NAMES, st.text()))))
def test_any_environment(environ: list[str]) -> None:
    given_ = variables.parse(environ)
    for folder in variables.path(given_):
        assert folder.startswith("/")
        assert folder.isprintable()
    for tool in TOOLS:
        assert len(variables.version(given_, tool)) <= LONGEST_VERSION


@pytest.mark.parametrize(
    ("tool", "entry", "version"),
    [
        ("java", "JAVA_VERSION=jdk-21.0.3+9", "21.0.3+9"),
        ("bun", "BUN_VERSION=v1.1.17", "1.1.17"),
        ("go", "GOLANG_VERSION=go1.22.4", "1.22.4"),
        ("go", "GO_VERSION=1.22.4", "1.22.4"),
        ("node", "NODE_VERSION=latest", ""),
        ("node", "NODE_VERSION=20\n", ""),
        ("git", "GIT_VERSION=2", ""),
    ],
)
def test_a_stated_version(tool: str, entry: str, version: str) -> None:
    assert variables.version(variables.parse([entry]), tool) == version


def test_the_path() -> None:
    assert variables.path({}) == tuple(DEFAULT_PATH.split(":"))
    assert variables.path({"PATH": "/a/:relative::/b:/a:/" + "x" * 300}) == ("/a", "/b")


def test_every_variable_and_command_is_of_a_tool_that_is_shown() -> None:
    assert set(variables.VERSIONS) <= set(TOOLS)
    assert set(COMMANDS.values()) == set(TOOLS)
