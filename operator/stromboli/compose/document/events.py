"""The bytes of a compose file → the events of libyaml, within bounds. What the events mean is in tree.py.

The text is checked before libyaml sees it (size, encoding, characters, directives), and a syntax error is said by its
line: libyaml's own sentences are constants and have nothing of the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import yaml

from stromboli.bounds import MAX_DIRECTIVES
from stromboli.compose.problem import Mark
from stromboli.errors import ComposeProblem

MAX_SIZE = 1024 * 1024  # bytes
MAX_DEPTH = 100

_CODINGS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NEWLINE = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what libyaml counts as the end of a line
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIRECTIVE = re.compile("(?:^|[\r\n\x85\u2028\u2029])%")
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: |\r?$)", re.MULTILINE)
_TAB = re.compile(r" *\t")
_TOO_NESTED = "exceeded maximum nesting depth"


def parse(data: bytes, file: str) -> Iterator[yaml.Event]:
    """The events of the file, as far as it is well-formed; then ComposeProblem is raised."""
    text = _decoded(data, file)
    if len(_DIRECTIVE.findall(text)) > MAX_DIRECTIVES:
        raise ComposeProblem("file", f"has too many YAML directives: at most {MAX_DIRECTIVES}", file)
    try:
        loader = yaml.CSafeLoader(text)
        while (event := loader.get_event()) is not None:
            yield event
    except yaml.MarkedYAMLError as e:
        raise _syntax(e, text, file) from None
    except yaml.YAMLError:
        raise ComposeProblem("file", "is not valid YAML", file) from None


def line(event: yaml.Event) -> int:
    """The line in which the event begins, from 1."""
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def too_deep(number: int, file: str) -> ComposeProblem:
    """The problem of a file that is nested too deeply in this line."""
    what = f"line {number} is nested too deeply: at most {MAX_DEPTH} levels"
    return ComposeProblem("file", what, str(Mark(file, number)))


def _decoded(data: bytes, file: str) -> str:
    if len(data) > MAX_SIZE:
        raise ComposeProblem("file", f"is too large: at most {MAX_SIZE} bytes", file)
    mark, coding = next((each for each in _CODINGS if data.startswith(each[0])), (b"", "utf-8"))
    content = data[len(mark) :]
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as e:
        before = content[: e.start].decode(coding)
        raise _in_line(_line(before, len(before)), f"is not text: it has bytes that {coding} has not", file) from None
    if wrong := _UNPRINTABLE.search(text):
        what = f"has the character U+{ord(wrong[0]):04X}, which YAML allows in no file"
        raise _in_line(_line(text, wrong.start()), what, file)
    return text


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> ComposeProblem:
    number = error.problem_mark.line + 1 if error.problem_mark is not None else 1
    begun = error.context_mark.line + 1 if error.context_mark is not None else number
    if error.problem == _TOO_NESTED:
        return too_deep(number, file)
    if conflict := _CONFLICT.search(text):
        return _in_line(_line(text, conflict.start()), "has a mark of a merge conflict that was not resolved", file)
    if _begins_with_tab(text, number):
        return _in_line(number, "is indented by a tab: YAML allows spaces only", file)
    what = f"is not valid YAML: {error.problem}"
    if error.context:
        what += f" {error.context}"
    if "end of stream" in (error.problem or ""):
        return _in_line(begun, what, file)
    return _in_line(number, what + (f", which begins in line {begun}" if begun != number else ""), file)


def _in_line(number: int, what: str, file: str) -> ComposeProblem:
    return ComposeProblem("", f"line {number} {what}", str(Mark(file, number)))


def _line(text: str, offset: int) -> int:
    return 1 + sum(1 for _ in _NEWLINE.finditer(text, 0, offset))


def _begins_with_tab(text: str, number: int) -> bool:
    lines = _NEWLINE.split(text)
    return number <= len(lines) and _TAB.match(lines[number - 1]) is not None
