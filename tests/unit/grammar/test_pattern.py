"""grammar/pattern.py: a table of what patterns match, which are malformed, and what matching costs."""

from __future__ import annotations

import re

import pytest

from stromboli.errors import InvalidInput
from stromboli.grammar import pattern, reference
from stromboli.grammar.pattern import PATTERN_RE2

HEX = "0123456789abcdef" * 4
X = f"sha256:{HEX}"
Y = f"sha256:{HEX[::-1]}"
EVERYWHERE = (
    "python",
    "bitnami/redis:7",
    "a/b/c/d",
    "ghcr.io/x",
    "docker.io:443/library/python:3",
    "localhost/a",
    "[::1]:5000/a",
    f"python@{X}",
    f"ghcr.io/a/b:1@{X}",
)

# pattern: (what it matches, what it does not match)
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "python:*": (
        ("python", "python:3.12", f"python@{X}", f"python:3.12@{X}", "docker.io/library/python:3"),
        ("python-evil:1", "evil/python:3", "ghcr.io/library/python:3", "docker.io:443/library/python:3"),
    ),
    "python:3.*": (
        ("python:3.12",),
        ("python", "python:2.7", f"python@{X}", f"python:3.12@{X}"),
    ),
    "python": (
        ("python", "python:latest"),
        ("python:3.12",),
    ),
    f"python@{X}": (
        (f"python@{X}", f"python:3.12@{X}", f"python:latest@{X}"),
        (f"python@{Y}", f"python:3.12@{Y}", "python", "python:3.12"),
    ),
    "ghcr.io/myorg/*": (
        ("ghcr.io/myorg/a", "ghcr.io/myorg/a:1", f"ghcr.io/myorg/a@{X}"),
        ("ghcr.io/myorg/team/a", "ghcr.io/myorg-evil/a", "ghcr.io.evil.com/myorg/a"),
    ),
    "ghcr.io/myorg/**": (
        (
            "ghcr.io/myorg/a",
            "ghcr.io/myorg/a:1",
            f"ghcr.io/myorg/a@{X}",
            "ghcr.io/myorg/team/a",
            f"ghcr.io/myorg/team/sub/a:1@{X}",
        ),
        ("ghcr.io/myorg", "ghcr.io/myorg-evil/a", "ghcr.io.evil.com/myorg/a"),
    ),
    "*.corp.example/team/*:v*": (
        ("a.corp.example/team/x:v1",),
        ("corp.example/team/x:v1", "x.corp.example.evil.com/team/x:v1"),
    ),
    "*": (
        ("python", "python:3", f"docker.io/library/redis@{X}"),
        ("bitnami/redis",),
    ),
    "**": (EVERYWHERE, ()),
}

FURTHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # a `*` that ends a word covers tag and digest, a `?` or a class does not
    "app-*": (
        ("app-a", "app-a:1", f"app-a:1@{X}", f"docker.io/library/app-a@{X}"),
        ("app", "app-a/b", "x/app-a", "xapp-a"),
    ),
    "app-?": (("app-a", "app-b:latest"), ("app-a:1", f"app-a@{X}", "app-ab", "app")),
    "app-[a-c]": (("app-a", "app-c"), ("app-d", "app-a:1", "app-ab")),
    "app-[!a-c]:*": (("app-d:1", "app-1"), ("app-a", "app-b:1", "app-dd")),
    "app-[^a-c]:*": (("app-d:1",), ("app-a",)),
    "app-[a-c0-9]x*": (("app-bx", "app-7xyz:1"), ("app-dx", "app-b")),
    "app[._-]x:*": (("app.x", "app_x", "app-x:2"), ("appx", "app__x")),
    "app[a-]:*": (("appa",), ("appb", "app")),
    "*-slim*": (("a-slim", "a-b-slim2:1"), ("slim", "a-sli", "x/a-slim")),
    "ap*le*": (("apple", "apxxlexx:1"), ("apl", "xapple")),
    # tags
    "python:3.1[0-2]": (("python:3.10", "python:3.12"), ("python:3.13", "python:3.1", "python:3.100")),
    "python:3.?": (("python:3.1",), ("python:3.12", "python:3.")),
    "python:*-slim": (
        ("python:3.12-slim", "python:3-slim"),
        ("python:slim", "python:3", f"python:3-slim@{X}"),
    ),
    "python:?*": (("python", "python:3"), (f"python@{X}", f"python:3@{X}")),
    "python:latest": (("python", "python:latest"), ("python:3", f"python:latest@{X}")),
    "python:V*": (("python:V1",), ("python:v1",)),
    "python:**": (("python", "python:3", f"python@{X}"), ("a/python", "python/a")),
    # digests
    f"python:3.12@{X}": (
        (f"python:3.12@{X}",),
        (f"python@{X}", f"python:3.13@{X}", f"python:3.12@{Y}", "python:3.12"),
    ),
    f"python:*@{X}": ((f"python:3.12@{X}", f"python@{X}"), (f"python@{Y}", "python")),
    f"python:3.*@{X}": ((f"python:3.12@{X}",), (f"python@{X}", f"python:2@{X}")),
    f"ghcr.io/myorg/*@{X}": ((f"ghcr.io/myorg/a@{X}",), (f"ghcr.io/myorg/a@{Y}", "ghcr.io/myorg/a")),
    "python@sha256:" + "?" * 64: ((f"python@{X}", f"python:3@{Y}"), ("python", f"python@sha512:{HEX}{HEX}")),
    "python@sha256:" + "[0-9a-f]" * 64: ((f"python@{X}",), ("python:3", f"redis@{X}")),
    f"python@sha256:{HEX[:-1]}*": ((f"python@{X}",), (f"python@{Y}", "python")),
    # registries
    "docker.io/*": (("python", f"python:3@{X}"), ("bitnami/redis", "ghcr.io/python", "docker.io:443/python")),
    "docker.io/**": (
        ("python", "bitnami/redis", "a/b/c:1"),
        ("ghcr.io/python", "docker.io:443/library/python"),
    ),
    "index.docker.io/python": (("python",), ("index.docker.io:443/python",)),
    "DOCKER.IO/library/*": (("python",), ("bitnami/redis",)),
    "GHCR.io/myorg/*": (("ghcr.io/myorg/a", "GHCR.IO/myorg/a"), ("ghcr.io/a",)),
    "localhost/stromboli/*": (
        ("localhost/stromboli/python:3.11", "LOCALHOST/stromboli/a"),
        (
            "localhost:5000/stromboli/a",
            "stromboli/a",
            "localhost/stromboli/a/b",
            "localhost.evil.com/stromboli/a",
        ),
    ),
    "localhost": (("docker.io/library/localhost",), ("localhost/a",)),
    "127.0.0.1:5000/*:v1": (
        ("127.0.0.1:5000/a:v1",),
        ("127.0.0.1:5000/a", "127.0.0.1/a:v1", "127.0.0.1:50000/a:v1", "127.0.0.1:5000/a/b:v1", "a:v1"),
    ),
    "[::1]:5000/*": (("[::1]:5000/a",), ("[::1]/a", "[::2]:5000/a", "[::1]:5001/a", "1:5000/a")),
    "[2001:DB8::1]/a": (("[2001:db8::1]/a",), ("[2001:db8::11]/a",)),
    "*.io/library/python": (
        ("python", "quay.io/library/python"),
        ("docker.io:443/library/python", "ghcr.io/python"),
    ),
    "*.io/python": (("quay.io/python",), ("python", "io/python", "quay.io:80/python")),
    "*:5000/a": (("host:5000/a", "a.b:5000/a"), ("a", "[::1]:5000/a", "host:5001/a", "host.x/a")),
    "?.io/a": (("x.io/a",), ("xx.io/a", "[::1]/a")),
    "[A-C].io/a": (("a.io/a", "B.io/a"), ("d.io/a",)),
    "[!A-C].io/a": (("d.io/a",), ("a.io/a", "B.io/a")),
    "*.*/a": (("a.b/a", "a.b.c/a"), ("localhost/a", "a", "x/a", "[::1]/a")),
    "registry-*.example/**": (
        ("registry-1.example/a/b",),
        ("registry-1.example.evil/a", "registry.example/a"),
    ),
    # without a dot or a port, the first part is not a registry
    "*/foo": (
        ("bitnami/foo", "library/foo", "foo"),
        ("ghcr.io/foo", "localhost/foo", "a/b/foo", "bitnami/foo:1"),
    ),
    "*/*": (("bitnami/redis:7", "python", f"a/b@{X}"), ("a/b/c", "ghcr.io/a", "ghcr.io/a/b", "localhost/a")),
    "localhos?/a": ((), ("localhost/a", "localhost:80/a")),
    "bitnami/*": (("bitnami/redis", "bitnami/redis:7"), ("bitnami", "bitnami/a/b", "ghcr.io/bitnami/redis")),
    # `**` is any number of whole segments, including zero, except at the end
    "**/x": (("x", "a/x", "a/b/x"), ("ghcr.io/x", "localhost/x", "a/xx", "a/x:1", "a/x/b")),
    "ghcr.io/**/x:*": (
        ("ghcr.io/x", "ghcr.io/a/x:1", "ghcr.io/a/b/x"),
        ("ghcr.io/a/xx", "ghcr.io/ax", "a/x"),
    ),
    "ghcr.io/a/**/b/**": (
        ("ghcr.io/a/b/c", "ghcr.io/a/x/y/b/c/d", "ghcr.io/a/b/b"),
        ("ghcr.io/a/b", "ghcr.io/b/c", "ghcr.io/a/x/c"),
    ),
    "ghcr.io/**": (("ghcr.io/a", "ghcr.io/a/b:1"), ("ghcr.io:443/a", "ghcr.io.evil/a", "ghcr/a")),
    "ghcr.io/my**": (("ghcr.io/my", "ghcr.io/myorg:1"), ("ghcr.io/my/a", "ghcr.io/am")),
    "***": (("python", "python:3"), ("a/python", "ghcr.io/python")),
    "**/**": (("python", "a/b/c:1"), ("ghcr.io/a", "ghcr.io/a/b")),
    "**:1.0": (
        ("python:1.0", "ghcr.io/a/b:1.0", "[::1]/x:1.0"),
        ("python", "ghcr.io/a/b:1.1", f"a/b:1.0@{X}"),
    ),
    "**:*": (EVERYWHERE, ()),
    f"**@{X}": ((f"python@{X}", f"ghcr.io/a/b:1@{X}"), ("python", f"ghcr.io/a/b:1@{Y}")),
    "ghcr.io/myorg/**:v*": (
        ("ghcr.io/myorg/a:v1", "ghcr.io/myorg/a/b:v2"),
        ("ghcr.io/myorg/a", f"ghcr.io/myorg/a:v1@{X}"),
    ),
    "docker.io/library/oci:*": (("docker.io/library/oci:1.0",), ("docker.io/oci/a",)),
    "docker:*": (("docker:24", "docker:dind"), ("docker/a",)),
}

CASES = [
    (text, image, expected)
    for text, both in {**TABLE, **FURTHER}.items()
    for expected, images in zip((True, False), both, strict=True)
    for image in images
]

MALFORMED = {
    "": "it is empty",
    "py{thon,pi}": "is not a valid name",
    "a,b": "is not a valid name",
    "a%": "is not a valid name",
    "python\\*": "is not a valid name",
    "user@ghcr.io/*": "user and password",
    "user:pw@ghcr.io/*": "user and password",
    "pyth\u00f6n*": "the character '\\xf6'",
    "python *": "contains a space",
    "python:*\n": "contains a space",
    "python[": "a [ is not closed",
    "python:3.[0-9": "a [ is not closed",
    "python]": "is not a valid name",
    "[]": "is empty",
    "[!]x": "is empty",
    "a[]b]": "is empty",
    "a[z-a]": "a range that ends before it begins: z-a",
    "a[*]": "may contain only letters",
    "gh[a/b]cr.io": "may contain only letters",
    "a[:]b": "may contain only letters",
    "a[@]b": "may contain only letters",
    "a[::1]/x": "may contain only letters",
    "a[\u00e9]": "may contain only letters",
    "python@sha256:abc": "the digest has 3 hex digits",
    "python@sha256:*": "the digest has 1 hex digits",
    f"python@sha256:{HEX}*": "the digest has 65 hex digits",
    "python@*": "has an unknown algorithm",
    f"python@sha*:{HEX}": "has an unknown algorithm",
    "Python:*": "capital letters",
    "ghcr.io/Org/*": "capital letters",
    "a//*": "a part of its path is empty",
    "/*": "a part of its path is empty",
    "ghcr.io/myorg/": "a part of its path is empty",
    "python.": "begins or ends with a dot",
    "*.": "begins or ends with a dot",
    "a._*": "is not a valid name",
    "*:*/x": "is not a registry",
    "localhost:500?/x": "is not a registry",
    "*./x": "is not a registry",
    "docker.io./*": "is not a registry",
    "python:": "nothing follows the colon",
    "python:.*": "the tag '.z' is not valid",
    "python:a:*": "is not valid",
    HEX: "64 hex digits",
    "docker://*": "docker:// is a transport",
    "oci:*": "write docker.io/library/oci:…",
    "containers-storage:*": "is a transport",
    "regexp:^python$": "is not valid",
    "a" * 300: "at most 255 are allowed",
    "[" * 5000: "at most 1024 are allowed",
}


@pytest.mark.parametrize(("text", "image", "expected"), CASES)
def test_the_table(text: str, image: str, expected: bool) -> None:
    assert pattern.parse(text).matches(reference.parse(image)) is expected
    assert re.fullmatch(PATTERN_RE2, text)


@pytest.mark.parametrize(("text", "why"), MALFORMED.items(), ids=[repr(t[:40]) for t in MALFORMED])
def test_a_malformed_pattern_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        pattern.parse(text)
    assert why in caught.value.message
    assert "is not an image pattern: " in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", [t for t in MALFORMED if t not in (HEX, "oci:*", "a[z-a]") and len(t) < 300])
def test_the_schema_refuses_what_it_can(text: str) -> None:
    known = ("containers-storage:*",)  # a transport, like "oci:*"
    assert (re.fullmatch(PATTERN_RE2, text) is not None) is (text in known)


def test_a_pattern_keeps_its_text_and_can_be_compared() -> None:
    assert pattern.parse("GHCR.io/a").text == "GHCR.io/a"
    assert pattern.parse("a*") == pattern.parse("a*")


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("*" * 200, "a" * 200),
        ("*" * 199 + "b", "a" * 240),
        ("a*" * 110 + "b", "a" * 240),
        ("*?" * 100, "a" * 240),
        ("**/" * 80 + "b", "/".join("a" * 120)),
        ("ghcr.io/" + "**/*a*a*b/" * 20 + "x", "ghcr.io/" + "/".join(["aaa"] * 60)),
        ("*" * 100 + ".io/x", "a" * 100 + ".io/" + "x"),
        ("python:" + "*a" * 60 + "b", "python:" + "a" * 128),
    ],
)
def test_a_hostile_pattern_costs_no_more_than_its_length_times_the_reference(text: str, image: str) -> None:
    """Counts membership tests instead of time: one per pair of characters, and one per retry."""
    found = pattern.parse(text)
    calls = 0

    class Counting(frozenset[str]):
        def __contains__(self, item: object) -> bool:
            nonlocal calls
            calls += 1
            return super().__contains__(item)

    def counting(glob: pattern.Glob) -> pattern.Glob:
        return tuple(None if t is None else Counting(t) for t in glob)

    counted = pattern.Pattern(
        found.text,
        found.registry and (counting(found.registry[0]), found.registry[1]),
        tuple(None if s is None else counting(s) for s in found.path),
        found.tag and counting(found.tag),
        found.digest and counting(found.digest),
    )
    ref = reference.parse(image)
    assert counted.matches(ref) is found.matches(ref)
    assert calls <= len(text) * len(str(ref))


def refusal(text: str) -> str:
    try:
        pattern.parse(text)
    except InvalidInput as e:
        return e.message
    return ""
