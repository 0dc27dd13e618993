"""A Dockerfile's text → its instructions, as Docker's reference says ("Format", "Parser directives", "Escape").

Only what both BuildKit and Buildah read in the same way is accepted. Where they could differ, the file is refused:
what was checked must be what is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

LONGEST = 256 * 1024  # bytes of a Dockerfile
MOST = 1_000  # instructions
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"(?<!<)<<-?\s*[\"']?[A-Za-z_]|(?:^|\s)\d*<<-?[^<\s]")
_KNOWN = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER"
    "|VOLUME|WORKDIR"
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `line` is its first (from 1), `rest` what follows the name, on one line."""

    line: int
    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The instructions, and the image of the `syntax` directive, None if there is none."""

    instructions: tuple[Instruction, ...]
    syntax: str | None


def parse(data: bytes) -> Parsed:
    """Raises InvalidInput; the message names the line."""
    if len(data) > LONGEST:
        raise InvalidInput(f"is too large: at most {LONGEST // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text") from error
    if "\0" in text:
        raise InvalidInput(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} has a NUL character in it")
    lines = text.replace("\r\n", "\n").split("\n")
    directives, begin = _directives(lines)
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise InvalidInput("the directive escape is \\ or `")
    found = tuple(_instruction(number, said) for number, said in _joined(lines, begin, escape))
    if len(found) > MOST:
        raise InvalidInput(f"has more than {MOST} instructions")
    return Parsed(found, directives.get("syntax"))


def _directives(lines: list[str]) -> tuple[dict[str, str], int]:
    """The parser directives at the top, and the index of the first line after them."""
    found: dict[str, str] = {}
    for index, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip())
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape", "check"):
            return found, index
        if name in found:
            raise InvalidInput(f"line {index + 1}: the directive {name} is given twice")
        found[name] = match[2]
    return found, len(lines)


def _joined(lines: list[str], begin: int, escape: str) -> Iterator[tuple[int, str]]:
    """The instructions with continued lines joined, each with the number of its first line."""
    parts, first = list[str](), 0
    for number, line in enumerate(lines[begin:], begin + 1):
        if line.lstrip().startswith("#") or (parts and not line.strip()):
            continue  # comments and empty lines do not end an instruction that goes on
        if not parts:
            if not line.strip():
                continue
            first = number
        body = line.rstrip(" \t")
        if body.endswith(escape):
            parts.append(body[:-1])
            continue
        yield first, "".join([*parts, line]).strip()
        parts = []
    if parts:
        yield first, "".join(parts).strip()


def _instruction(number: int, said: str) -> Instruction:
    name, _, rest = said.partition(" ") if " " in said.split("\t")[0] else said.partition("\t")
    if not _KNOWN.fullmatch(name.upper()):
        raise InvalidInput(f"line {number}: {quoted(name)} is not an instruction of a Dockerfile")
    if _HEREDOC.search(rest):
        raise InvalidInput(f"line {number}: here-documents are not supported; write a file of the context instead")
    if rest.endswith("\\"):  # with another escape, what is built would go on in the next line
        raise InvalidInput(f"line {number}: an instruction does not end in a backslash")
    return Instruction(number, name.upper(), rest.strip())
