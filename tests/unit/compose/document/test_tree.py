"""compose/document/tree.py and events.py: what files mean, what is refused and where, and that nothing grows."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli import visible
from stromboli.compose.document import events, tree
from stromboli.compose.document.node import Date, Node
from stromboli.compose.document.tree import parse
from stromboli.errors import ComposeProblem


def read(text: str | bytes) -> Node:
    return parse(text if isinstance(text, bytes) else text.encode(), "compose.yaml")


def bare(node: Node) -> Any:
    """The values without their places."""
    if isinstance(node.value, Mapping):
        return {key: bare(child) for key, child in node.value.items()}
    return [bare(child) for child in node.value] if isinstance(node.value, tuple) else node.value


def kinds(value: Any) -> Any:
    """The types of all values: 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    return [kinds(each) for each in value] if isinstance(value, list) else type(value)


def refusal(text: str | bytes) -> ComposeProblem:
    with pytest.raises(ComposeProblem) as raised:
        read(text)
    assert len(str(raised.value)) < 400
    assert visible.text(str(raised.value)) == str(raised.value)
    return raised.value


def lines(problem: ComposeProblem) -> set[int]:
    return {int(each) for each in re.findall(r"line (\d+)", str(problem))}


DOCUMENTS: dict[str, tuple[str, Any]] = {
    "values": ("a: yes\nb: 22:22\nc: 0777\nd: '1'\ne: 2020-01-01\nf:", {
        "a": "yes", "b": "22:22", "c": 511, "d": "1", "e": Date("2020-01-01"), "f": None,
    }),
    "collections": ("a: [1, [2], {b: c}]\nd:\n- e\n- f: g\n", {"a": [1, [2], {"b": "c"}], "d": ["e", {"f": "g"}]}),
    "block texts": ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
    "an escaped NUL": ('a: "\\0"', {"a": "\0"}),
    "quoted numbers and words": ("a: '1'\nb: \"true\"\nc: '~'\nd: ''", {"a": "1", "b": "true", "c": "~", "d": ""}),
    "a mapping of names only": ("a: {x, y}", {"a": {"x": None, "y": None}}),
    "keys that look unusual": ("yes: 1\n=: 2\n\"1\": 3\n'': 4\n!!str 5: 6", {"yes": 1, "=": 2, "1": 3, "": 4, "5": 6}),
    "an alias": ("a: &x {b: [1]}\nc: *x\nd: [*x]", {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}]}),
    "an alias as a key": ("a: &x b\n*x : c", {"a": "b", "b": "c"}),
    "an anchor at a key": ("&x a: *x", {"a": "a"}),
    "a repeated anchor": ("a: &x 1\nb: *x\nc: &x 2\nd: *x", {"a": 1, "b": 1, "c": 2, "d": 2}),
    "an anchor repeated inside itself": ("a: &x [&x 1, *x]\nb: *x", {"a": [1, 1], "b": 1}),
    "a merge": ("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
    "own keys before a merge": ("a: &a {x: 1}\nb:\n  x: 2\n  <<: *a", {"a": {"x": 1}, "b": {"x": 2}}),
    "an own null beats": ("a: &a {x: 1}\nb: {<<: *a, x: }", {"a": {"x": 1}, "b": {"x": None}}),
    "a merge is shallow": ("a: &a {x: {p: 1}}\nb: {<<: *a, x: {q: 2}}", {"a": {"x": {"p": 1}}, "b": {"x": {"q": 2}}}),
    "the first of a merge list": (
        "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b, {z: 3}]",
        {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2, "z": 3}},
    ),
    "an anchored merge list": ("a: &a [{x: 1}, {x: 2}]\nb: {<<: *a}", {"a": [{"x": 1}, {"x": 2}], "b": {"x": 1}}),
    "merges of merges": ("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}", {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 2},
    }),
    "an inline merge": ("a: {<<: {x: 1}, y: 2}", {"a": {"x": 1, "y": 2}}),
    "a merge key with its tag": ("a: {!!merge <<: {x: 1}}", {"a": {"x": 1}}),
    "a quoted merge key": ("a: {'<<': {x: 1}}", {"a": {"<<": {"x": 1}}}),
    "tags that fit": ("a: !!str 1\nb: !!int '2'\nc: !!map {d: !!seq []}\ne: ! 3\nf: ! {}", {
        "a": "1", "b": 2, "c": {"d": []}, "e": "3", "f": {},
    }),
    "a directive": ("%YAML 1.1\n---\na: b\n...\n", {"a": "b"}),
    "carriage returns": ("a: b\r\nc:\r\n  - d\r\n", {"a": "b", "c": ["d"]}),
    "tabs between": ("a:\tb\nc: d\t# e\n", {"a": "b", "c": "d"}),
    "text that looks like a conflict": ("a: |\n  <<<<<<< HEAD\n  =======\n", {"a": "<<<<<<< HEAD\n=======\n"}),
    "many values": ("a: [" + "x, " * (tree.MAX_VALUES - 2) + "]", {"a": ["x"] * (tree.MAX_VALUES - 2)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_documents_mean(name: str) -> None:
    text, expected = DOCUMENTS[name]
    assert bare(read(text)) == expected
    assert kinds(bare(read(text))) == kinds(expected)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(coding: str) -> None:
    mark = "\ufeff" if coding in ("utf-16-le", "utf-16-be") else ""
    assert bare(read(f"{mark}é: 漢\U0001f600\n".encode(coding))) == {"é": "漢\U0001f600"}


def test_a_value_has_the_line_of_its_key() -> None:
    root = read("a:\n  b:\n    - c\n    -\n      d: e\n  f: &f\n    g: h\ni: *f\nj:\n  <<: *f\n")
    found = {path: node.mark.line for path, node in _walk(root, ())}
    assert found == {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 5, ("a", "b", 1, "d"): 5,
        ("a", "f"): 6, ("a", "f", "g"): 7, ("i",): 8, ("i", "g"): 7, ("j",): 9, ("j", "g"): 7,
    }  # fmt: skip
    assert str(root.mark) == "compose.yaml:1"


def _walk(node: Node, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Node]]:
    return [(path, node)] + [each for key, child in node.children() for each in _walk(child, (*path, key))]


PROBLEMS: dict[str, tuple[str, str, int]] = {
    "a key twice": ("a:\n  b: 1\n  c: 2\n  b: 3", "a.b", 4),
    "a key twice, the second in quotes": ("a:\n  b: 1\n  'b': 2", "a.b", 3),
    "a key twice in a list": ("a:\n- {b: 1}\n- {b: 1, b: 1}", "a[1].b", 3),
    "a key twice at the top": ("a: 1\nb: 2\na: 3", "a", 3),
    "a merge key twice": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", 'b["<<"]', 4),
    "a merge key twice, once in quotes": ("b:\n  <<: {}\n  '<<': {}", 'b["<<"]', 3),
    "a merge key twice, first in quotes": ("b:\n  '<<': {}\n  <<: {}", 'b["<<"]', 3),
    "a merged text": ("b:\n  <<: x", 'b["<<"]', 2),
    "a merge of nothing": ("b:\n  <<:", 'b["<<"]', 2),
    "a merged list of texts": ("a: &a {x: 1}\nb:\n  <<: [*a, x]", 'b["<<"][1]', 3),
    "a merged list in a list": ("a: &a {x: 1}\nb:\n  <<: [[*a]]", 'b["<<"][0]', 3),
    "a null key": ("a:\n  ~: x", "a[null]", 2),
    "no key": ("a:\n  ?\n  : x", "a[null]", 2),
    "a number as a key": ("a:\n  80: x", "a[80]", 2),
    "a boolean as a key": ("a:\n  true: x", "a[true]", 2),
    "a decimal as a key": ("a:\n  1.5: x", "a[1.5]", 2),
    "a date as a key": ("a:\n  2020-01-01: x", "a[2020-01-01]", 2),
    "an alias of a number as a key": ("a: &x 80\n*x : x", "[*x]", 2),
    "a list as a key": ("a:\n  [x]: x", "a", 2),
    "a mapping as a key": ("a:\n  ? {x: y}\n  : x", "a", 2),
    "an alias in its own anchor": ("a:\n  b: &x\n    c: *x", "a.b.c", 3),
    "an alias in its own anchor, in a merge": ("a: &x\n  <<: *x", 'a["<<"]', 2),
    "an alias in its own anchor, in a list": ("a: &x [[*x]]", "a[0][0]", 1),
    "an alias without an anchor": ("a:\n- *x", "a[0]", 2),
    "an alias before its anchor": ("a: *x\nb: &x 1", "a", 1),
    "a tag of Python's": ("a: {b: !!python/name:os.environ }", "a.b", 1),
    "a call of Python's": ("a:\n- !!python/object/apply:os.system [id]", "a[0]", 2),
    "a tag of the file's own": ("a: !x {b: c}", "a", 1),
    "a tag that a directive renames": ("%TAG ! tag:evil.example,2000:\n---\na: !x {b: c}", "a", 3),
    "a standard tag that a directive renames": ("%TAG !! tag:evil.example,2000:\n---\na: !!str x", "a", 3),
    "a set": ("a: !!set {x, y}", "a", 1),
    "an ordered mapping": ("a: !!omap [x: y]", "a", 1),
    "bytes": ("a: !!binary aG9zdA==", "a", 1),
    "reset": ("a: {b: !reset null}", "a.b", 1),
    "reset of a list": ("a: {b: !reset []}", "a.b", 1),
    "override": ("a:\n  b: !override\n    - c", "a.b", 2),
    "a number that is none": ("a: !!int x", "a", 1),
    "a text that is a list": ("a: !!str [x]", "a", 1),
    "a list that is a mapping": ("a: !!seq {x: y}", "a", 1),
    "a mapping that is a text": ("a: !!map x", "a", 1),
    "a key with a tag": ("a:\n  !x b: c", "a.b", 2),
    "a key that turns the message round": ('"a\u202e": {~: x}', '["a\\u202e"][null]', 1),
    "a key with quotes": ("'a\"b': {~: x}", '["a\\"b"][null]', 1),
    "a long key": ("x" * 200 + ": {~: x}", '["' + "x" * 40 + '…"][null]', 1),
    "a list": ("# x\n- a", "file", 2),
    "a text": ("\n\nservices", "file", 3),
    "a second document": ("a: b\n---\nc: d", "file", 2),
    "a second, empty document": ("a: b\n---\n", "file", 2),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_refused_by_its_key(name: str) -> None:
    text, key, line = PROBLEMS[name]
    problem = refusal(text)
    assert (problem.key, problem.where) == (key, f"compose.yaml:{line}")
    assert str(problem).startswith(f"compose.yaml:{line}: {key}: ")


@pytest.mark.parametrize("text", ["", "\n", "# x\n", "---\n", "~", "---\nnull\n...\n", "\ufeff", "%YAML 1.2\n---\n"])
def test_a_file_without_a_mapping_is_empty(text: str) -> None:
    problem = refusal(text)
    assert (problem.key, str(problem)) == ("file", "compose.yaml: file: is empty: a compose file has services")


BROKEN: dict[str, tuple[str | bytes, int]] = {
    "a quote without an end": ('a:\n  b: "c\n  d: e\n', 2),
    "a quote that another ends": ('a:\n  b: {c: "d}\n  e: {f: "g"}\n', 3),
    "a bracket without an end": ("a:\n  b: [c\n  d: e\n", 2),
    "a brace without an end": ("a:\n  b: {c: d\n", 2),
    "a tab as indentation": ("a:\n\tb: c\n", 2),
    "a tab after spaces": ("a:\n  b:\n  \t  c: d\n", 3),
    "wrong indentation": ("a:\n  b: c\n d: e\n", 3),
    "a value in a value": ("a: b: c\n", 1),
    "a character that begins nothing": ("a: @b\n", 1),
    "an unknown escape": ('a: b\nc: "\\q"\n', 2),
    "a tag without its directive": ("a: b\nc: !x!y z\n", 2),
    "a merge conflict": ("a:\n  b:\n<<<<<<< HEAD\n    c: d\n=======\n    c: e\n>>>>>>> other\n", 3),
    "a merge conflict with carriage returns": ("a:\r\n<<<<<<< HEAD\r\n  c: d\r\n=======\r\n  c: e\r\n>>>>>>> x\r\n", 2),
    "a merge conflict in a list": ("a:\n- b\n<<<<<<< HEAD\n- c\n=======\n- d\n>>>>>>> other\n", 3),
    "a NUL": ("a: b\nc: d\0\n", 2),
    "another control character": ("a: b\r\nc: \x1b[31m\n", 2),
    "bytes that are not UTF-8": (b"a: b\nc: \xff\n", 2),
    "bytes that are not UTF-8 after a mark": (b"\xef\xbb\xbfa\n: \n\xff", 3),
    "half a character of UTF-16": (b"\xff\xfea\x00:\x00\n\x00b", 2),
    "a NUL in UTF-16": ("\ufeffa: b\n\0".encode("utf-16-be"), 2),
    "an unknown version of YAML": ("%YAML 3.0\n---\na: b", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_yaml_is_refused_by_its_line(name: str) -> None:
    text, line = BROKEN[name]
    problem = refusal(text)
    assert problem.key == ""
    assert line in lines(problem)


def test_what_is_wrong_with_the_usual_mistakes() -> None:
    assert "is indented by a tab" in str(refusal("a:\n\tb: c\n"))
    assert "merge conflict" in str(refusal("a:\n<<<<<<< HEAD\n  b: c\n"))
    unclosed = refusal('a:\n  b: "c\n  d: e\n  f: g\n')
    assert unclosed.where == "compose.yaml:2"
    assert lines(unclosed) == {2}


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    "text",
    [
        f"a: '{SECRET * 9}",
        f'a: "{SECRET * 9}',
        f"a: [{SECRET * 9}",
        f"a: {SECRET * 9}: x",
        f"{SECRET * 9}",
        f"a: b\n {SECRET * 9}: c",
        f"- {SECRET * 9}",
        f"a: !{SECRET * 9} x",
        f"a: *{SECRET * 9}",
        f"{SECRET * 9}: 1\n{SECRET * 9}: 1",
        f"a: !!int {SECRET * 9}",
    ],
)
def test_a_message_has_at_most_a_piece_of_the_file(text: str) -> None:
    assert SECRET * 3 not in str(refusal(text))


def test_depth_is_bounded() -> None:
    deepest = "a: " + "[" * (events.MAX_DEPTH - 1) + "]" * (events.MAX_DEPTH - 1)
    read(deepest)
    for text in ("a: " + "[" * events.MAX_DEPTH, "{a: " * 5000, "- " * 5000, "? " * 5000, "[" * 300_000):
        problem = refusal(text)
        assert problem.key == "file" or "as a key" in str(problem)
    nested = "\n".join(" " * depth + "a:" for depth in range(events.MAX_DEPTH + 1))
    assert lines(refusal(nested)) == {events.MAX_DEPTH + 1}


def test_an_alias_is_as_deep_as_what_it_stands_for() -> None:
    half = events.MAX_DEPTH // 2
    chain = f"a: &a {'[' * half}{']' * half}\nb: "
    read(chain + "[" * (half - 1) + "*a" + "]" * (half - 1))
    assert "nested too deeply" in str(refusal(chain + "[" * half + "*a" + "]" * half))
    merged = "a: &a0 {x: 1}\n" + "".join(f"b{n}: &a{n + 1} {{<<: {{k{n}: *a{n}}}}}\n" for n in range(200))
    assert "nested too deeply" in str(refusal(merged))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}, *a{n}, *a{n}]\n" for n in range(60)),
        "a: &a0 {x: y}\n" + "".join(f"b{n}: &a{n + 1} {{<<: [*a{n}, *a{n}, *a{n}], k{n}: z}}\n" for n in range(60)),
        "a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 1000 + "]",
        "a: [" + "x, " * tree.MAX_VALUES + "]",
        "a:\n" + "- &a x\n" * tree.MAX_VALUES,
    ],
    ids=["lists of aliases", "merges of aliases", "one wide list", "values", "anchors"],
)
def test_values_are_bounded_and_counted_before_they_are_made(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counted(*arguments: Any) -> Node:
        nonlocal made
        made += 1
        return Node(*arguments)

    monkeypatch.setattr(tree, "Node", counted)
    assert "too many values" in str(refusal(text))
    assert made <= min(len(text), tree.MAX_VALUES)


def test_text_is_bounded_with_what_aliases_repeat() -> None:
    tenth = tree.MAX_TEXT // 10
    assert "too much text" in str(refusal(f"a: &a {'x' * tenth}\nb: [{'*a, ' * 10}]"))
    read(f"a: &a {'x' * tenth}\nb: [{'*a, ' * 8}]")
    assert "too much text" in str(refusal(f"a: &a\n  ? {'x' * tenth}\nb: [{'*a, ' * 10}]"))


def test_size_is_bounded() -> None:
    read("a: b\n#" + "x" * (events.MAX_SIZE - 6))
    assert refusal("a: b\n#" + "x" * (events.MAX_SIZE - 5)).key == "file"


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029"])
def test_directives_are_bounded(newline: str) -> None:
    text = "".join(f"%TAG !a{n}! x{newline}" for n in range(20)) + f"---{newline}a: b"
    assert "directives" in str(refusal(text))


PIECES = [
    *"abx01:-,[]{}#&*!|>'\"%@`?~<.\t\n \r\0é\ufeff\u2028\x85",
    "\n",
    "\n  ",
    "- ",
    ": ",
    "? ",
    "a: ",
    "b: ",
    "&a ",
]
PIECES += ["*a", "<<", "<<: ", "!!str ", "!!int ", "!x ", "---\n", "...\n", "%TAG ! x\n", "%YAML 1.2\n"]
FRAGMENTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@given(st.binary() | FRAGMENTS.map(str.encode) | FRAGMENTS.map(lambda text: text.encode("utf-16")))
@example(b"\xff\xfe")
@example(b"a: !!int ''")
@example(b"&a : *a")
@example(b"{? : }")
def test_nothing_but_a_problem_is_raised(data: bytes) -> None:
    said = ""
    try:
        assert isinstance(parse(data, "compose.yaml").value, Mapping)
    except ComposeProblem as problem:
        said = str(problem)
    assert len(said) < 400
    assert visible.text(said) == said


WORD = st.text("abcxyz", min_size=1, max_size=4)
# Without digits: PyYAML writes 1e3 and 0o7 without quotes, which it reads as text.
TEXT = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=10)
SCALARS = WORD | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none() | TEXT
TREES = st.dictionaries(
    WORD | TEXT,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORD, inner, max_size=4), max_leaves=20
    ),
    min_size=1,
    max_size=5,
)


@given(TREES, st.sampled_from([True, False, None]))
def test_what_pyyaml_writes_is_read_back(document: dict[str, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow)
    assert bare(read(text)) == document


@given(st.lists(st.dictionaries(WORD, WORD), max_size=4), st.dictionaries(WORD, WORD), st.integers(0, 4))
def test_own_keys_come_first_and_then_the_first_merged(
    merged: list[dict[str, str]], own: dict[str, str], before: int
) -> None:
    entries = [f"{key}: {value}" for key, value in own.items()]
    entries.insert(before, f"<<: [{', '.join(f'*a{number}' for number in range(len(merged)))}]")
    anchors = "".join(f"A{number}: &a{number} {each}\n" for number, each in enumerate(merged))
    found = bare(read(f"{anchors}M: {{{', '.join(entries)}}}\n"))
    assert found["M"] == dict(ChainMap(own, *merged))
    assert [found[f"A{number}"] for number in range(len(merged))] == merged
