"""compose/dotenv.py: how files of variables are read, and that no message has anything of their text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli.compose import dotenv
from stromboli.errors import ComposeProblem

LOOKUP = {"OUTER": "outer", "A": "from-outside", "EMPTY": ""}

FILES: dict[str, dict[str, str]] = {
    "": {},
    "\n \t\r\n# x\n  # y\n": {},
    "K=v": {"K": "v"},
    "K=v\nL=w\n": {"K": "v", "L": "w"},
    "K=v\r\nL=w\r\n": {"K": "v", "L": "w"},
    "K=": {"K": ""},
    "K=\nL=w": {"K": "", "L": "w"},
    "K=  \nL=w": {"K": "", "L": "w"},
    "  K = v  \n": {"K": "v"},
    "K: v": {"K": "v"},
    "K:v=w": {"K": "v=w"},
    "K=v:w": {"K": "v:w"},
    "K=a=b=": {"K": "a=b="},
    "K=postgres://u:p@h:5432/d?sslmode=off": {"K": "postgres://u:p@h:5432/d?sslmode=off"},
    "a.b-c[0]_9=v": {"a.b-c[0]_9": "v"},
    "1K=v": {"1K": "v"},
    "ÄÖ=v": {"ÄÖ": "v"},
    "K=1\nK=2": {"K": "2"},
    # export
    "export K=v": {"K": "v"},
    "\texport\tK=v": {"K": "v"},
    "exportK=v": {"exportK": "v"},
    "export=v": {"export": "v"},
    "export.K=v": {"export.K": "v"},
    "export OUTER\n": {"OUTER": "outer"},
    # a name alone
    "OUTER": {"OUTER": "outer"},
    "OUTER\nK=v": {"OUTER": "outer", "K": "v"},
    "OUTER \r\nK=v": {"OUTER": "outer", "K": "v"},
    "EMPTY": {"EMPTY": ""},
    "NONE\nK=v": {"K": "v"},
    # comments
    "K=v # x": {"K": "v"},
    "K=v #": {"K": "v"},
    "K=v#x": {"K": "v#x"},
    "K=v\t#x": {"K": "v\t#x"},
    "K='v' # x": {"K": "v"},
    "K='v'# x\nL=w": {"K": "v", "L": "w"},
    "#K=v": {},
    # unquoted
    "K=a b": {"K": "a b"},
    "K=a\\tb": {"K": "a\\tb"},
    "K=a'b\"c": {"K": "a'b\"c"},
    "K=p$$ss": {"K": "p$ss"},
    "K=$OUTER-${OUTER}-${NONE:-d}-$NONE.": {"K": "outer-outer-d-."},
    "K=x$1$": {"K": "x$1$"},
    # single quotes
    "K='a # \"b\" $OUTER ${x \\n \\\\ $$'": {"K": 'a # "b" $OUTER ${x \\n \\\\ $$'},
    "K='it\\'s'": {"K": "it's"},
    "K='a\nb'\nL=w": {"K": "a\nb", "L": "w"},
    "K=''": {"K": ""},
    # double quotes
    "K=\"a # 'b'\"": {"K": "a # 'b'"},
    'K="$OUTER ${NONE:-d}"': {"K": "outer d"},
    'K="\\a\\b\\f\\n\\r\\t\\v\\\\\\""': {"K": '\a\b\f\n\r\t\v\\"'},
    'K="\\$OUTER \\${OUTER} $$OUTER"': {"K": "$OUTER ${OUTER} $OUTER"},
    'K="\\\\$OUTER"': {"K": "\\outer"},
    'K="\\0123\\0377"': {"K": "Sÿ"},
    'K="\\0 \\01 \\0129 \\0400 \\x07 \\u12e4 \\c \\q \\ "': {"K": "\\0 \\01 \\0129 \\0400 \\x07 \\u12e4 \\c \\q \\ "},
    'K="\\\\n"': {"K": "\\n"},
    'K="a\nb"\nL=w': {"K": "a\nb", "L": "w"},
    'K="a\\\nb"': {"K": "a\\\nb"},
    'K="a"  \r\nL=w': {"K": "a", "L": "w"},
    "K = 'v'": {"K": "v"},
    'J=\'{"a": "b"}\'': {"J": '{"a": "b"}'},
    # what earlier lines have set, but not over what is outside
    "K=v\nL=$K": {"K": "v", "L": "v"},
    "K=$L\nL=v": {"K": "", "L": "v"},
    "A=inside\nL=$A": {"A": "inside", "L": "from-outside"},
    "K='$OUTER'\nL=$K": {"K": "$OUTER", "L": "$OUTER"},
    "EMPTY=x\nL=${EMPTY:-d}": {"EMPTY": "x", "L": "d"},
}


@pytest.mark.parametrize("text", FILES)
def test_what_files_set(text: str) -> None:
    assert dotenv.parse(text.encode(), ".env", LOOKUP) == FILES[text]
    assert dotenv.parse(text.encode("utf-8-sig"), ".env", LOOKUP) == FILES[text]


def test_what_earlier_files_have_set_comes_last() -> None:
    earlier = {"A": "x", "B": "earlier", "C": "earlier"}
    found = dotenv.parse(b"C=own\nK=$A $B $C\nB\n", ".env", LOOKUP, earlier)
    assert found == {"C": "own", "K": "from-outside earlier own"}


WRONG: dict[str, tuple[str | bytes, int]] = {
    "words": ("K=v\nhunter2 hunter2\n", 2),
    "a sign": ("!! hunter2", 1),
    "the beginning of a key": ("-----BEGIN hunter2 KEY-----\nhunter2", 1),
    "no name": ("\n\n=hunter2", 3),
    "a colon without a name": (": hunter2", 1),
    "two words before the sign": ("hunter2 hunter2=x", 1),
    "a tab in a name": ("hunter2\thunter2=x", 1),
    "a dollar in a name": ("hunter2$=x", 1),
    "a quoted name": ("K=v\n'hunter2'=x", 2),
    "export of two": ("export hunter2 B", 1),
    "a double quote without an end": ('K=v\n\nL="hunter2\nx\n', 3),
    "a single quote without an end": ("K='hunter2", 1),
    "a quote whose end is escaped": ('K="hunter2\\"', 1),
    "a quote that ends in a backslash": ("K='hunter2\\", 1),
    "text after a quote": ('L=w\nK="hunter2"hunter2', 2),
    "an assignment after a quote": ('K="x" hunter2=y', 1),
    "a variable without an end": ("K=${hunter2", 1),
    "a variable with an assignment": ("K=${hunter2:=x}", 1),
    "a required variable": ("K=v\n\nL=${hunter2:?hunter2}", 3),
    "a variable in double quotes": ('# x\n\nK="a\nb${hunter2!}"', 3),
    "a NUL": ("K=v\nL=hunter2\0", 2),
    "an escaped NUL": ('K="hunter2\\0000"', 1),
    "bytes that are not UTF-8": (b"K=v\nL=hunter2\xff", 2),
    "UTF-16": ("hunter2=v".encode("utf-16"), 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_by_file_and_line_without_the_text(name: str) -> None:
    text, line = WRONG[name]
    with pytest.raises(ComposeProblem) as raised:
        dotenv.parse(text if isinstance(text, bytes) else text.encode(), "with/x.env", {})
    said = str(raised.value)
    assert said.startswith(f"line {line} of with/x.env ")
    assert "hunter2" not in said
    assert raised.value.key == ""
    assert raised.value.what == said


RAW: dict[str, dict[str, str]] = {
    "": {},
    "K=v\nL=w": {"K": "v", "L": "w"},
    "K='v' # x $OUTER \\n ${": {"K": "'v' # x $OUTER \\n ${"},
    "  K= v \r\n": {"K": " v "},
    "# K=v\n\n \n": {},
    "K=a=b": {"K": "a=b"},
    "K=": {"K": ""},
    "OUTER\nNONE\nEMPTY": {"OUTER": "outer", "EMPTY": ""},
    "a b".replace(" ", "!") + "=v": {"a!b": "v"},
}


@pytest.mark.parametrize("text", RAW)
def test_raw_values_are_what_stands_there(text: str) -> None:
    assert dotenv.raw(text.encode("utf-8-sig"), "x.env", LOOKUP) == RAW[text]


@pytest.mark.parametrize("text", ["=hunter2", "K=v\nhunter2 hunter2=v", "hunter2 ", "K=\0hunter2", b"\xffhunter2"])
def test_a_mistake_in_a_raw_file(text: str | bytes) -> None:
    with pytest.raises(ComposeProblem, match=r"^line [12] of x\.env ") as raised:
        dotenv.raw(text if isinstance(text, bytes) else text.encode(), "x.env", LOOKUP)
    assert "hunter2" not in str(raised.value)


def test_size_and_growth_are_bounded() -> None:
    for read in (dotenv.parse, dotenv.raw):
        with pytest.raises(ComposeProblem, match=r"^x\.env is too large"):
            read(b"#" * (dotenv.MAX_SIZE + 1), "x.env", {})
    doubling = "V0=" + "x" * 1000 + "".join(f"\nV{n + 1}=$V{n}$V{n}" for n in range(60))
    with pytest.raises(ComposeProblem, match=r"^line 13 of x\.env is too long"):
        dotenv.parse(doubling.encode(), "x.env", {})
    with pytest.raises(ComposeProblem, match="one too many"):
        dotenv.parse(b"BIG\n" * 50, "x.env", {"BIG": "x" * (dotenv.MAX_TEXT // 10)})


NAMES = st.text("ABCabc_019.", min_size=1, max_size=5)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)


@given(st.dictionaries(NAMES, VALUES))
def test_quoted_values_are_read_back(values: dict[str, str]) -> None:
    escaped = {name: re.sub(r'([\\"$])', r"\\\1", value) for name, value in values.items()}
    text = "".join(f'{name}="{value}" # x\n' for name, value in escaped.items())
    assert dotenv.parse(text.encode(), ".env", {}) == values


@given(st.dictionaries(NAMES, VALUES.map(lambda value: value.replace("\n", ""))))
def test_raw_values_are_read_back(values: dict[str, str]) -> None:
    text = "\n".join(f"{name}={value}" for name, value in values.items())
    assert dotenv.raw(text.encode(), ".env", {}) == values


LINES = st.lists(
    st.sampled_from([*"AB=:'\"\\$ \t\r\n#{}-!", "export ", "${A", ":-", "\\0000", "é", "\u2028"]), max_size=30
)


@given(st.binary() | LINES.map("".join).map(str.encode))
@example(b"A\x85=1")
@example(b"A=\xc2\x85")
def test_nothing_but_a_problem_is_raised(data: bytes) -> None:
    for read in (dotenv.parse, dotenv.raw):
        try:
            values = read(data, ".env", LOOKUP)
        except ComposeProblem:
            continue
        assert all(name and "\0" not in name + value for name, value in values.items())
