"""compose/document/interpolation.py: which values are expanded, where errors are, and that nothing grows."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given

from stromboli.compose.document import interpolation
from stromboli.compose.document.interpolation import interpolate
from stromboli.compose.document.node import Node
from stromboli.compose.problem import Mark
from stromboli.errors import ComposeProblem
from tests.unit.compose.document.test_tree import TREES, bare, read

VARIABLES = {"A": "a", "HOST": "/etc:/host", "YES": "true", "EMPTY": ""}


def test_every_text_is_expanded_and_nothing_else() -> None:
    root = read(
        "x-unused: {y: '$A'}\ninclude: ['$A']\nservices:\n  $A:\n    image: ${A}\n    ports: [80, '${A}:80', 1.5]\n"
        "    labels: {$A: b}\n    privileged: ${YES}\n    init: true\n    volumes: [$HOST]\n    day: 2020-01-01\n"
        "    n:\n"
    )
    found, warnings = interpolate(root, VARIABLES)
    service = bare(root)["services"]["$A"] | {
        "image": "a",
        "ports": [80, "a:80", 1.5],
        "privileged": "true",
        "volumes": ["/etc:/host"],
    }
    assert bare(found) == {"x-unused": {"y": "a"}, "include": ["a"], "services": {"$A": service}}
    assert warnings == ()


def test_places_stay_and_the_tree_that_was_given_does_too() -> None:
    root = read("a:\n  b: $A\n  c:\n  - $A\n")
    before = bare(root)
    found, _ = interpolate(root, VARIABLES)
    assert bare(root) == before
    for path in ((), ("a",), ("a", "b"), ("a", "c"), ("a", "c", 0)):
        old, new = root.at(path), found.at(path)
        assert old is not None
        assert new is not None
        assert (old.mark, old.item) == (new.mark, new.item)
    item = Node("$A", Mark("compose.yaml", 3), 2)
    found, _ = interpolate(Node({"a": item}, item.mark), VARIABLES)
    assert found.at(("a",)) == Node("a", item.mark, 2)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a:\n  b: ${A:=x}", "a.b", 2),
        ("x-unused:\n- x\n- ${NEVER:?x}", "x-unused[1]", 3),
        ("a:\n  b.c:\n    d: ${", 'a["b.c"].d', 3),
        ("x-a: &a\n  b: ${}\nc: *a", "x-a.b", 2),
    ],
)
def test_a_mistake_is_told_with_its_key(text: str, key: str, line: int) -> None:
    with pytest.raises(ComposeProblem) as raised:
        interpolate(read(text), VARIABLES)
    assert (raised.value.key, raised.value.where) == (key, f"compose.yaml:{line}")


def test_a_required_variable_is_told_with_what_the_file_says_of_it() -> None:
    with pytest.raises(ComposeProblem) as raised:
        interpolate(read('a: "${PASSWORD:?say it in .env\\u202e}"'), VARIABLES)
    assert str(raised.value) == (
        "compose.yaml:1: a: requires a variable that is not set: ${PASSWORD:?say it in .env\\u202e}"
    )


def test_the_value_of_a_variable_is_in_no_message() -> None:
    with pytest.raises(ComposeProblem) as raised:
        interpolate(read("a: ${NONE:?$SECRET}"), {"SECRET": "hunter2"})
    assert "hunter2" not in str(raised.value)


def test_each_variable_without_a_value_is_told_once() -> None:
    _, warnings = interpolate(read("a: $B $C\nb: [$B, '${D:-$C}', '${EMPTY}']"), VARIABLES)
    assert warnings == ("variable B is not set; it is empty", "variable C is not set; it is empty")
    many = " ".join(f"$V{number}" for number in range(interpolation.MAX_NAMED + 3))
    _, warnings = interpolate(read(f"a: {many}"), VARIABLES)
    assert len(warnings) == interpolation.MAX_NAMED + 1
    assert warnings[-1] == "3 more variables are not set; they are empty"


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "$BIG" * 1000,
        "a: &a " + "$BIG" * 10 + "\nb: [" + "*a, " * 1000 + "]",
        "a: &a0 [$BIG]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(10)),
    ],
    ids=["one text", "aliases", "aliases of aliases"],
)
def test_what_is_expanded_is_bounded(text: str) -> None:
    with pytest.raises(ComposeProblem) as raised:
        interpolate(read(text), {"BIG": "x" * (interpolation.MAX_TEXT // 100)})
    assert "too long" in str(raised.value)


@given(TREES)
def test_a_tree_without_variables_stays(document: dict[str, object]) -> None:
    text = yaml.dump(document, Dumper=yaml.CSafeDumper)
    assume("$" not in text)
    root = read(text)
    assert interpolate(root, VARIABLES)[0] is root
