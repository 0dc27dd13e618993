"""Image patterns for allowlists: text → `Pattern`, and whether it matches a `Reference`.

A pattern is matched part by part (registry, each path segment, tag, digest) against a parsed reference, never as a
prefix of a joined string, so no glob can match across a `/`, `:` or `@`:

    *       any number of characters within a part, including none
    ?       one character
    [a-z]   one character of the class; [!a-z] or [^a-z] one character outside it
    **      as a whole path segment: any number of segments (at least one at the end of the path);
            inside a word it is the same as *

A pattern is well formed if replacing each glob by a letter makes it a reference (grammar/reference.py), and the
defaults of references apply to it too. Consequences:
- `*/x` and `**/x` are paths on docker.io, since `a/x` is one; `*.example/x` and `*:5000/x` have a registry.
- `docker.io/*` is `docker.io/library/*`; `docker.io/**` is all of Docker Hub. A name that is just `**` matches every
  registry and path.
- Without tag and digest, the tag is `latest`, unless the pattern ends with `*`: then any tag and digest match. The
  same holds for the tag `*`. With any other tag, the reference must have no digest, since that would override the tag.
- With a digest, the reference must have that digest, with or without a tag; if the pattern has a tag as well, both
  must match.
- Globs may replace hex digits of a digest (64 in all for sha256); ports and algorithms are literal.

Hosts compare case-insensitively. Nothing here knows about policies; plan/ decides what a list of patterns means.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from stromboli.errors import InvalidInput
from stromboli.grammar import reference
from stromboli.grammar.reference import HUB, Reference

PATTERN_RE2 = reference.re2(glob=r"[*?]|\[[!^]?[A-Za-z0-9._-]+\]")
"""What `parse` accepts, and a little more: in addition to the exceptions of REFERENCE_RE2, only `parse` rejects a class
with a reversed range (`[z-a]`)."""

# The characters of which a part can consist, without delimiters and the brackets of an IPv6 address.
_ALPHABET = frozenset(string.ascii_letters + string.digits + "._-")
_IPV6 = re.compile(r"\[[0-9a-fA-F]*:[0-9a-fA-F:]*\]")

Token = frozenset[str] | None  # one of these characters; None for any number of any characters
Glob = tuple[Token, ...]
T = TypeVar("T")

_ANY: Glob = (None,)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, ready to match. `text` is what the administrator wrote.

    `registry` is (host, port), None for every registry; an element of `path` is None for any number of segments;
    `tag` and `digest` are None if anything matches.
    """

    text: str
    registry: tuple[Glob, str] | None
    path: tuple[Glob | None, ...]
    tag: Glob | None
    digest: Glob | None

    def matches(self, ref: Reference) -> bool:
        """Whether the pattern covers the image, in at most pattern length times reference length steps."""
        return self._covers_registry(ref) and self._covers_path(ref) and self._covers_version(ref)

    def covers_repository(self, ref: Reference) -> bool:
        """Whether the pattern covers images of the reference's repository, whatever their tags and digests."""
        return self._covers_registry(ref) and self._covers_path(ref)

    @property
    def takes_digests(self) -> bool:
        """Whether a reference with a digest can match: it cannot if the pattern has only a tag."""
        return self.tag is None or self.digest is not None

    def is_disjoint(self, other: Pattern) -> bool:
        """Whether it is certain that no image matches both; False if that cannot be decided."""
        return (
            self._registries_differ(other)
            or not _meet(self.path, other.path, _segments_meet)
            or self._versions_differ(other)
        )

    def _registries_differ(self, other: Pattern) -> bool:
        if self.registry is None or other.registry is None:
            return False
        (host, port), (other_host, other_port) = self.registry, other.registry
        return port != other_port or not _meet(host, other_host, _characters_meet)

    def _versions_differ(self, other: Pattern) -> bool:
        for one, another in ((self, other), (other, self)):
            if not one.takes_digests and another.digest is not None:
                return True
        pairs = ((self.tag, other.tag), (self.digest, other.digest))
        return any(a is not None and b is not None and not _meet(a, b, _characters_meet) for a, b in pairs)

    def _covers_registry(self, ref: Reference) -> bool:
        if self.registry is None:
            return True
        host, port = self.registry
        ref_host, _, ref_port = ref.registry.partition(":")  # split as in _registry, including IPv6 addresses
        return port == ref_port and _covers(host, ref_host)

    def _covers_path(self, ref: Reference) -> bool:
        return _walk(self.path, ref.path.split("/"), _covers)

    def _covers_version(self, ref: Reference) -> bool:
        if self.tag is not None and self.digest is None and ref.digest is not None:
            return False  # a digest overrides the tag, and the pattern allows none
        return _asked(self.tag, ref.tag) and _asked(self.digest, ref.digest)


def parse(text: str) -> Pattern:
    """Parse a pattern. Raises InvalidInput with a sentence that says what is wrong with it."""
    try:
        lexemes = _lexemes(text)
    except InvalidInput as e:
        raise InvalidInput(f"{reference.shown(text)} is not an image pattern: {e.message}") from None
    letters = _as_letters(lexemes)
    if why := reference.problem(letters):
        read = f" (with letters in place of its globs: {reference.shown(letters)})" if letters != text else ""
        raise InvalidInput(f"{reference.shown(text)} is not an image pattern: {why}{read}")
    return _build(text, lexemes, letters)


def _lexemes(text: str) -> list[str]:
    """Characters and globs in order; `[…]` is one lexeme, unless it is an IPv6 address at the start."""
    if len(text) > reference.MAX_LENGTH:
        raise InvalidInput(f"it has {len(text)} characters; at most {reference.MAX_LENGTH} are allowed")
    address = _IPV6.match(text)
    lexemes = list(address[0]) if address else []
    at = len(lexemes)
    while at < len(text):
        lexeme = _class_at(text, at) if text[at] == "[" else text[at]
        lexemes.append(lexeme)
        at += len(lexeme)
    return lexemes


def _class_at(text: str, start: int) -> str:
    end = text.find("]", start)
    if end < 0:
        raise InvalidInput("a [ is not closed; write a ] after the characters to match, such as [0-9]")
    lexeme = text[start : end + 1]
    if not _members(lexeme):
        raise InvalidInput(
            f"the class {reference.shown(lexeme)} is empty; write the characters to match into it, such as [0-9]"
        )
    return lexeme


def _members(lexeme: str) -> frozenset[str]:
    """The characters that a class lists, ignoring a negation."""
    inner = lexeme[1:-1]
    inner = inner[1:] if inner[:1] in ("!", "^") else inner
    found: set[str] = set()
    while inner:
        last = inner[2] if len(inner) > 2 and inner[1] == "-" else inner[0]
        if not _ALPHABET.issuperset((inner[0], last)):
            raise InvalidInput(f"the class {reference.shown(lexeme)} may contain only letters, digits and . _ -")
        if last < inner[0]:
            raise InvalidInput(
                f"the class {reference.shown(lexeme)} has a range that ends before it begins: {inner[:3]}"
            )
        found.update(c for c in _ALPHABET if inner[0] <= c <= last)
        inner = inner[3:] if len(inner) > 2 and inner[1] == "-" else inner[1:]
    return frozenset(found)


def _as_letters(lexemes: Sequence[str]) -> str:
    """The pattern as a reference, with a letter for each glob: z in names, which is no hex digit, so that a name cannot
    look like an id, and a in digests, which need hex digits."""
    name_end = lexemes.index("@") if "@" in lexemes else len(lexemes)
    return "".join(
        lexeme if not _is_glob(lexeme) else "z" if at < name_end else "a" for at, lexeme in enumerate(lexemes)
    )


def _build(text: str, lexemes: Sequence[str], letters: str) -> Pattern:
    match = reference.SHAPE.fullmatch(letters)
    assert match  # SHAPE matches any text

    def part(name: str) -> Sequence[str] | None:
        return None if match[name] is None else lexemes[slice(*match.span(name))]

    tag, digest = _version(part("tag"), part("digest"), text.endswith("*"))
    any_name = match["registry"] is None and part("path") == ["*", "*"]
    return Pattern(
        text=text,
        registry=None if any_name else _registry(part("registry"), letters),
        path=_path(part("path") or (), reference.split(letters).registry in (None, HUB)),
        tag=tag,
        digest=digest,
    )


def _registry(lexemes: Sequence[str] | None, letters: str) -> tuple[Glob, str]:
    if lexemes is None or not any(map(_is_glob, lexemes)):
        lexemes = list(reference.split(letters).registry or HUB)  # in its canonical spelling
    colon = lexemes.index(":") if ":" in lexemes else len(lexemes)
    return _glob(lexemes[:colon], fold=True), "".join(lexemes[colon + 1 :])


def _path(lexemes: Sequence[str], on_hub: bool) -> tuple[Glob | None, ...]:
    segments = [list(s) for is_slash, s in groupby(lexemes, "/".__eq__) if not is_slash]
    path = [None if s == ["*", "*"] else _glob(s) for s in segments]
    if on_hub and len(path) == 1 and path[0] is not None:
        path.insert(0, _glob("library"))
    if path[-1] is None:
        path.append(_ANY)  # `a/**` is everything below a, but not a itself
    return tuple(path)


def _version(
    tag: Sequence[str] | None, digest: Sequence[str] | None, ends_in_star: bool
) -> tuple[Glob | None, Glob | None]:
    """The globs for tag and digest; None if anything matches."""
    if tag is None and digest is None and not ends_in_star:
        tag = reference.DEFAULT_TAG
    any_tag = tag is None or set(tag) == {"*"}
    return None if any_tag or tag is None else _glob(tag), None if digest is None else _glob(digest)


def _glob(lexemes: Sequence[str], *, fold: bool = False) -> Glob:
    return tuple(_token(lexeme, fold) for lexeme in lexemes)


def _token(lexeme: str, fold: bool) -> Token:
    if lexeme == "*":
        return None
    if lexeme == "?":
        return _ALPHABET
    members = _members(lexeme) if _is_glob(lexeme) else frozenset(lexeme)
    if fold:
        members |= {c.lower() for c in members}
    return _ALPHABET - members if lexeme[1:2] in ("!", "^") else members


def _is_glob(lexeme: str) -> bool:
    return len(lexeme) > 1 or lexeme in "*?"


def _asked(glob: Glob | None, value: str | None) -> bool:
    return glob is None or (value is not None and _covers(glob, value))


def _covers(glob: Glob, value: str) -> bool:
    return _walk(glob, value, _is_member)


def _is_member(characters: frozenset[str], char: str) -> bool:
    return char in characters


def _walk(tokens: Sequence[T | None], values: Sequence[str], fits: Callable[[T, str], bool]) -> bool:
    """Whether the tokens cover all values, where None stands for any number of values.

    Only the last None is ever retried, with one more value each time: everything before it was matched in the shortest
    way, which leaves the most for the rest. So there is no exponential case.
    """
    at = used = retry_used = 0
    retry_at = -1
    while used < len(values):
        token = tokens[at] if at < len(tokens) else None
        if at < len(tokens) and token is None:
            retry_at, retry_used = at, used
            at += 1
        elif token is not None and fits(token, values[used]):
            at, used = at + 1, used + 1
        elif retry_at >= 0:
            retry_used += 1
            at, used = retry_at + 1, retry_used
        else:
            return False
    return all(token is None for token in tokens[at:])


def _characters_meet(one: frozenset[str], other: frozenset[str]) -> bool:
    return not one.isdisjoint(other)


def _segments_meet(one: Glob, other: Glob) -> bool:
    return _meet(one, other, _characters_meet)


def _meet(one: Sequence[T | None], other: Sequence[T | None], fit: Callable[[T, T], bool]) -> bool:
    """Whether some sequence of values is covered by both, where None stands for any number of values."""
    seen, left = set[tuple[int, int]](), [(0, 0)]
    while left:
        at = left.pop()
        if at in seen:
            continue
        seen.add(at)
        i, j = at
        if i == len(one) and j == len(other):
            return True
        a, b = (one[i] if i < len(one) else None), (other[j] if j < len(other) else None)
        if i < len(one) and a is None:
            left.append((i + 1, j))
            left += [(i, j + 1)] if b is not None else []
        if j < len(other) and b is None:
            left.append((i, j + 1))
            left += [(i + 1, j)] if a is not None else []
        if a is not None and b is not None and fit(a, b):
            left.append((i + 1, j + 1))
    return False
