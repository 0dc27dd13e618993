"""What an expression of PromQL refers to: as much of the syntax as board and alerts need, and an error for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<range>\[(?:\d+[smhdw]|\$__rate_interval|\$__range)\])
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[a-zA-Z_][a-zA-Z0-9_]*)
    | (?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "bool"}
FUNCTIONS = {"sum", "max", "min", "avg", "count", "rate", "increase", "histogram_quantile", "absent"}
RANGED = {"rate", "increase"}


@dataclass
class Selector:
    """A metric, and what its labels are to be: (label, operator, value)."""

    metric: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    is_range: bool = False


@dataclass
class Found:
    """What is in an expression."""

    selectors: list[Selector] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def read(expression: str) -> Found:
    """Raises ValueError for what is no expression, or not of the kind that is known here."""
    return _Reader(list(_tokens(expression.strip()))).read()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"at {text[at:]!r}")
        assert match.lastgroup is not None
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0
        self.found = Found()

    def read(self) -> Found:
        self.expression()
        if self.at < len(self.tokens):
            raise ValueError(f"{self.tokens[self.at]} is not expected")
        return self.found

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "the end")
        if wanted and text not in wanted and kind not in wanted:
            raise ValueError(f"{text!r} where {wanted} is expected")
        self.at += 1
        return text

    def expression(self) -> None:
        self.operand()
        while self.peek() in {*"+-*/%^<>", "==", "!=", ">=", "<=", "and", "or", "unless"}:
            self.take()
            while self.peek() in {"on", "ignoring", "group_left", "group_right", "bool"}:
                if self.take() != "bool" and self.peek() == "(":
                    self.labels()
            self.operand()

    def operand(self) -> None:
        if self.peek() == "-":
            self.take()
        kind = self.tokens[self.at][0] if self.at < len(self.tokens) else ""
        if kind == "number":
            self.take()
        elif self.peek() == "(":
            self.take("(")
            self.expression()
            self.take(")")
        else:
            name = self.take("name")
            if self.peek() in ("(", "by", "without"):
                self.call(name)
            else:
                self.selector(name)

    def call(self, name: str) -> None:
        if name not in FUNCTIONS:
            raise ValueError(f"{name} is no function that is known here")
        if self.peek() in ("by", "without"):
            self.take()
            self.labels()
        self.take("(")
        before = len(self.found.selectors)
        while True:
            self.expression()
            if self.take(",", ")") == ")":
                break
        ranges = [selector.is_range for selector in self.found.selectors[before:]]
        if name in RANGED and ranges != [True]:
            raise ValueError(f"{name} wants a range")

    def labels(self) -> None:
        self.take("(")
        while self.peek() != ")":
            self.found.grouped.add(self.take("name"))
            if self.peek() == ",":
                self.take(",")
        self.take(")")

    def selector(self, metric: str) -> None:
        if metric in GROUPING | WORDS | FUNCTIONS:
            raise ValueError(f"{metric} is no metric")
        made = Selector(metric)
        if self.peek() == "{":
            self.take("{")
            while self.peek() != "}":
                label, operator = self.take("name"), self.take("=", "!=", "=~", "!~")
                made.matchers.append((label, operator, self.take("string")[1:-1]))
                if self.peek() == ",":
                    self.take(",")
            self.take("}")
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "range":
            self.take()
            made.is_range = True
        self.found.selectors.append(made)
