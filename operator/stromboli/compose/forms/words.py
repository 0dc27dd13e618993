"""A command as one text → its words, as Compose splits it (github.com/mattn/go-shellwords): there is no shell.

Quotes and backslashes work as in a shell; variables, `~` and patterns stay as they are, and so does what stands in
backquotes or `$(…)`. At an unquoted `&`, `|`, `;`, `<` or `>`, Compose drops the rest in silence. That is refused here.
"""

from __future__ import annotations

import re

from stromboli.errors import InvalidInput

LONGEST = 64 * 1024  # characters

_SHELL = 'write ["sh", "-c", "…"] for a shell'
_OPERATOR = re.compile(r"&&|\|\||>>|<<|[&|;<>]")
_REFUSED = {"`": "\"'", "$(": "("}  # what Compose reads in ways of its own there
_CLOSING = {'"': '"', "'": "'", "`": "`", "$(": ")"}


def parse(text: str) -> tuple[str, ...]:
    """The words of a command. Raises InvalidInput."""
    if len(text) > LONGEST:
        raise InvalidInput(f"is longer than {LONGEST} characters")
    words: list[str] = []
    word: list[str] = []
    begun = False  # there is a word, perhaps an empty one
    inside = ""  # a key of _CLOSING
    characters = enumerate(text)
    for at, character in characters:
        if character == "\\" and inside != "'":
            _, escaped = next(characters, (0, None))
            if escaped is None:
                raise InvalidInput("ends with a backslash; quote it")
            word.append(escaped)
            begun = True
        elif inside:
            if character != _CLOSING[inside]:
                if character in _REFUSED.get(inside, ""):
                    raise InvalidInput(f"has a {character} within {inside}; write a list of words")
                word.append(character)
                continue
            if inside not in "\"'":
                word.append(character)
            inside, begun = "", True
        elif character in " \t\r\n":
            if begun:
                words.append("".join(word))
                word, begun = [], False
        elif character in "\"'":
            inside = character
        elif found := _OPERATOR.match(text, at):
            raise InvalidInput(f"has an unquoted {found[0]}, where Compose drops the rest of the command; {_SHELL}")
        elif character in "()":
            if character == ")" or word[-1:] != ["$"]:
                raise InvalidInput(f"has an unquoted parenthesis; quote it, or {_SHELL}")
            word.append(character)
            inside = "$("
        else:
            word.append(character)
            begun = True
            inside = "`" if character == "`" else ""
    if inside:
        raise InvalidInput(f"has a {inside} without its end")
    return (*words, "".join(word)) if begun else tuple(words)
