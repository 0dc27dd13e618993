"""The regular expressions of the schemas, against Python's.

The API server reads them as RE2, where `$` is the end of the text and nothing else; Python's `$` also matches
before a last newline. Whatever a schema refuses has to be refused here, and the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stromboli.grammar import duration, pattern, quantity, reference
from stromboli.models import agentpolicy, base, claude, crd
from stromboli.models.base import ENV_NAME_PATTERN

# The typed strings whose pattern pydantic enforces too, and a few that they take.
TYPED = {
    "ObjectName": (base.ObjectName, ["a", "a-b", "a.b", "1"]),
    "DataKey": (base.DataKey, ["a", "tls.key", "_x", "A-b"]),
    "ToolRule": (claude.ToolRule, ["Read", "Bash(git *)", "a,b"]),
}


def _expressions(node: Any) -> Iterator[str]:
    """Every regular expression of a schema: `pattern`, and what stands in `matches(r'…')`."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for rule in node.get("x-kubernetes-validations", []):
            yield from re.findall(r"matches\(r?'([^']*)'\)", rule["rule"])
        for child in node.values():
            yield from _expressions(child)
    if isinstance(node, list):
        for child in node:
            yield from _expressions(child)


EXPRESSIONS = sorted({e for kind in crd.KINDS for e in _expressions(crd.crd(kind))})


def test_there_are_some() -> None:
    assert len(EXPRESSIONS) > 8


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_is_an_expression_that_both_engines_read(expression: str) -> None:
    assert re.compile(expression)
    assert not re.search(r"\(\?[=!<]|\\[1-9]|\\[ZzA]|\\d|\\w|\\s|[*+?}]\+", expression), "RE2 has it not, or otherwise"


@pytest.mark.parametrize("name", TYPED)
def test_typed_strings_agree_with_fullmatch(name: str) -> None:
    type_, samples = TYPED[name]
    adapter = TypeAdapter[str](type_)
    (expression,) = _expressions(adapter.json_schema())
    for sample in samples:
        for text in (sample, f"{sample}\n", f"\n{sample}", f"{sample}\0", f"{sample} ", sample.upper(), f".{sample}"):
            assert _accepts(adapter, text) == bool(re.fullmatch(expression, text)), repr(text)


@given(st.text(st.sampled_from("aZ09-_./: \n\0é"), min_size=1, max_size=8))
def test_typed_strings_agree_with_fullmatch_for_any_text(text: str) -> None:
    for type_, _ in TYPED.values():
        adapter = TypeAdapter[str](type_)
        (expression,) = _expressions(adapter.json_schema())
        assert _accepts(adapter, text) == bool(re.fullmatch(expression, text)), (type_, text)


@pytest.mark.parametrize(
    ("expression", "sound"),
    [
        (ENV_NAME_PATTERN, "HOME_1"),
        (reference.REFERENCE_RE2, "ghcr.io/a/b:1"),
        (pattern.PATTERN_RE2, "python:*"),
        (quantity.MEMORY_RE2, "512Mi"),
        (quantity.CPU_RE2, "500m"),
        (duration.DURATION_RE2, "1h30m"),
    ],
)
def test_the_rules_expressions_are_anchored(expression: str, sound: str) -> None:
    assert expression.startswith("^")
    assert expression.endswith("$")
    assert re.fullmatch(expression, sound)
    for spoiled in (f"{sound}\n", f"{sound} x", f"x {sound}", f"{sound}\0"):
        assert not re.fullmatch(expression, spoiled), repr(spoiled)


def test_the_rules_of_env_names_stand_in_the_schema() -> None:
    assert ENV_NAME_PATTERN in EXPRESSIONS


@pytest.mark.parametrize(
    "document",
    [
        {"cli": {"tag": "v1\n"}},
        {"cli": {"tag": ".v1"}},
        {"credentials": {"secretRef": {"name": "claude\n"}}},
        {"credentials": {"secretRef": {"name": "Claude"}}},
    ],
)
def test_a_policy_with_a_last_newline_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        agentpolicy.AgentPolicySpec.model_validate(document)


def _accepts(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True
