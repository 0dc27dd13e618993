"""compose/substitution.py: Compose's forms of variables, each error, and a bound on the result."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli.compose import substitution
from stromboli.compose.substitution import Expanded, Wrong, expand

VARIABLES = {"A": "first", "EMPTY": "", "JSON": '{"j":2}', "D": "$A ${A} $$", "_x9": "u"}
LONGEST = 10_000

TEXTS = {
    "": "",
    "plain {text} }{": "plain {text} }{",
    "$A": "first",
    "${A}": "first",
    "$A-b": "first-b",
    "$A$A": "firstfirst",
    "$Ab.$_x9": ".u",
    "a${A}b${A}c": "afirstbfirstc",
    "$A}": "first}",
    # a dollar sign that begins nothing
    "$": "$",
    "a $ b": "a $ b",
    "$1 $. ${A} ^x$": "$1 $. first ^x$",
    "$é": "$é",
    "$}": "$}",
    "$$": "$",
    "$$A": "$A",
    "$$$A": "$first",
    "$$$$": "$$",
    "$${A}": "${A}",
    "$${": "${",
    # defaults
    "${A:-x}": "first",
    "${A-x}": "first",
    "${EMPTY:-x}": "x",
    "${EMPTY-x}": "",
    "${NONE:-x}": "x",
    "${NONE-x}": "x",
    "${NONE:-}": "",
    "${NONE-}": "",
    "${NONE:- x y }": " x y ",
    "${A:+x}": "x",
    "${A+x}": "x",
    "${EMPTY:+x}": "",
    "${EMPTY+x}": "x",
    "${NONE:+x}": "",
    "${NONE+x}": "",
    "${A:?x}": "first",
    "${A?x}": "first",
    "${EMPTY?x}": "",
    # the leftmost sign is the operator
    "${NONE-b:-c}": "b:-c",
    "${NONE:-b-c}": "b-c",
    "${NONE-x?y}": "x?y",
    "${A?b-c}": "first",
    "${A+b:+c}": "b:+c",
    "${EMPTY:-/non:-x}": "/non:-x",
    "${NONE--}": "-",
    "-x ${EMPTY:-y} :?": "-x y :?",
    # nested
    "${NONE-$A}": "first",
    "${NONE:-${A}}": "first",
    "${NONE:-${A} ${A}}z": "first firstz",
    "${NONE:-${EMPTY:-${NONE-$A}}}": "first",
    "${A+$A ${A:+second}}": "first second",
    "${NONE:-$$A}": "$A",
    "${NONE:-$${A}}": "${A}",
    "${NONE:-$}": "$",
    "${NONE:-a$1}": "a$1",
    '${NONE:-{"a":1}}': '{"a":1}',
    '${JSON:-{"a":1}}': '{"j":2}',
    "${NONE:-{}}": "{}",
    "${NONE:-{}} ${NONE:-x}": "{} x",
    "${NONE:-{{}${A}{}}}": "{{}first{}}",
    # a text that is not used is not read
    "${A:-${!}}": "first",
    "${A-${NONE:?x}}": "first",
    "${NONE:+${!}}": "",
    "${A:?${!}}": "first",
    # what is substituted is not expanded
    "$D": "$A ${A} $$",
    "${D}": "$A ${A} $$",
    "${NONE:-$D}": "$A ${A} $$",
    # several lines
    "$A\n${A}\n": "first\nfirst\n",
    "{\n${NONE:-x}\n}": "{\nx\n}",
}
INVALID = [
    *(
        "${",
        "${}",
        "${ }",
        "${ A}",
        "${A }",
        "${A!}",
        "${A:=x}",
        "${A=x}",
        "${A/x/y}",
        "${#A}",
        "${1A}",
        "${A",
        "${A:-x",
    ),
    *(
        "${A:}",
        "${A:x}",
        "${A.b}",
        "${A-{}",
        "${é}",
        "${${A}}",
        "a ${A} ${",
        "${NONE:-${}}",
        "${NONE:-${A!}}",
        "${A:-x\n}",
    ),
    *("${A\n}", "${-x}", "${NONE:-${A:-x}", "${A^}", "${A,,}", "${A@Q}", "${A%x}", "${!A}", "${NONE-${}", "${"),
]
REQUIRED = {
    "${NONE:?say why}": "not set",
    "${NONE?}": "not set",
    "${NONE?say $A}": "not set",
    "${EMPTY:?}": "empty",
    "x ${NONE:-${NONE:?}}": "not set",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_texts_become(text: str) -> None:
    found = expand(text, VARIABLES, LONGEST)
    assert isinstance(found, Expanded)
    assert found.text == TEXTS[text]


@pytest.mark.parametrize("text", INVALID)
def test_invalid_forms(text: str) -> None:
    found = expand(text, VARIABLES, LONGEST)
    assert isinstance(found, Wrong)
    assert "begins no variable" in found.what
    assert found.piece
    assert found.piece in text
    assert found.piece.startswith("${")


@pytest.mark.parametrize("text", REQUIRED)
def test_required_variables(text: str) -> None:
    found = expand(text, VARIABLES, LONGEST)
    assert isinstance(found, Wrong)
    assert REQUIRED[text] in found.what
    assert found.piece in text


def test_the_piece_is_short_and_the_reason_has_nothing_of_the_text() -> None:
    for text in ("${hunter2" + "x" * 1000, "${hunter2:?" + "x" * 1000 + "}"):
        found = expand(text, {}, LONGEST)
        assert isinstance(found, Wrong)
        assert len(found.piece) <= substitution.SHOWN + 1
        assert "hunter2" not in found.what


@pytest.mark.parametrize(
    ("text", "unset"),
    [
        ("$A $B ${C} $B", ("B", "C")),
        ("${B:-x} ${B-x} ${B:+x} ${B+x}", ()),
        ("${B:-$C}", ("C",)),
        ("${A:-$C} ${B:+$C}", ()),
        ("${EMPTY} $EMPTY", ()),
        ("$$B $${B}", ()),
    ],
)
def test_variables_without_value_and_default_are_told(text: str, unset: tuple[str, ...]) -> None:
    found = expand(text, VARIABLES, LONGEST)
    assert isinstance(found, Expanded)
    assert found.unset == unset


@pytest.mark.parametrize("text", ["$BIG" * 1000, "${BIG}" * 1000, "${NO:-$BIG$BIG}" * 1000, "${BIG:-x}" * 1000])
def test_the_result_is_bounded(text: str) -> None:
    read: list[str] = []

    class Variables(Mapping[str, str]):
        def __getitem__(self, name: str) -> str:
            if name != "BIG":
                raise KeyError(name)
            read.append(name)
            return "x" * 1000

        def __iter__(self) -> Iterator[str]:
            return iter(["BIG"])

        def __len__(self) -> int:
            return 1

    found = expand(text, Variables(), LONGEST)
    assert isinstance(found, Wrong)
    assert "too long" in found.what
    assert len(read) <= LONGEST // 1000 + 2


@pytest.mark.parametrize("used", [True, False])
def test_nesting_takes_time_in_proportion(used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = itertools.count()
    original = substitution._Expansion._part

    def counted(self: substitution._Expansion, start: int, end: int) -> Wrong | None:
        next(parts)
        return original(self, start, end)

    monkeypatch.setattr(substitution._Expansion, "_part", counted)
    deep = 100_000
    found = expand("${A:-" * deep + "x" + "}" * deep, {} if used else {"A": "y"}, LONGEST)
    assert found == Expanded("x" if used else "y")
    assert next(parts) <= 2 * deep + 1


@given(st.text())
def test_text_without_a_dollar_sign_stays(text: str) -> None:
    text = text.replace("$", "")
    assert expand(text, VARIABLES, LONGEST) == Expanded(text)


@given(st.text())
def test_doubled_dollar_signs_are_the_way_to_write_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES, LONGEST) == Expanded(text)


PIECES = st.sampled_from([*"${}:-+?AB_1 \n!", "${", "${A", "${B:-", "${A+", "$$", ":?", "}"])


@given(st.lists(PIECES, max_size=30).map("".join))
@example("${B:-{}")
def test_it_agrees_with_the_definition(text: str) -> None:
    found = expand(text, {"A": "a", "_": ""}, LONGEST)
    expected = _defined(text, {"A": "a", "_": ""})
    assert (found.text if isinstance(found, Expanded) else None) == expected


def _defined(text: str, variables: dict[str, str]) -> str | None:
    """The same, recursive and slow; None if it is wrong."""
    out = ""
    while text:
        head, text = text[0], text[1:]
        if head != "$" or not text:
            out += head
        elif text[0] == "$":
            out, text = f"{out}$", text[1:]
        elif text[0] == "{":
            end = next((n for n in range(len(text)) if text[: n + 1].count("{") == text[: n + 1].count("}")), None)
            if end is None or "\n" in text[:end]:
                return None
            value = _braced(text[1:end], variables)
            if value is None:
                return None
            out, text = out + value, text[end + 1 :]
        else:
            name = _name(text)
            out, text = out + (variables.get(name, "") if name else "$"), text[len(name) :]
    return out


def _braced(inside: str, variables: dict[str, str]) -> str | None:
    name, rest = _name(inside), inside[len(_name(inside)) :]
    value = variables.get(name)
    sign = next((sign for sign in (":-", "-", ":+", "+", ":?", "?") if rest.startswith(sign)), "")
    if not name or (rest and not sign):
        return None
    present = bool(value) if sign.startswith(":") else value is not None
    match sign[-1:]:
        case "-" if not present:
            return _defined(rest[len(sign) :], variables)
        case "+":
            return _defined(rest[len(sign) :], variables) if present else ""
        case "?" if not present:
            return None
    return value or ""


def _name(text: str) -> str:
    if not text or not ((text[0].isascii() and text[0].isalpha()) or text[0] == "_"):
        return ""
    return "".join(itertools.takewhile(lambda each: (each.isascii() and each.isalnum()) or each == "_", text))
