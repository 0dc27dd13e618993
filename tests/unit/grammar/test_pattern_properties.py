"""grammar/pattern.py: no pattern matches too much, two are disjoint if no image matches both, and the schema agrees."""

from __future__ import annotations

import fnmatch
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stromboli.grammar import pattern, reference
from stromboli.grammar.pattern import PATTERN_RE2
from tests.unit.grammar.test_pattern import X, Y, refusal

ALNUM = string.ascii_lowercase + string.digits
WORD = st.text(ALNUM, min_size=1, max_size=3)
# Few letters, so that globs, words and mutations coincide often.
GLOB_WORD = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "a-b"]), min_size=1, max_size=3).map("".join)
REGISTRIES = st.sampled_from(["docker.io", "ghcr.io", "aghcr.io", "ghcr.io.a", "ghcr.io:1", "localhost", "[::1]:1"])
GLOB_REGISTRIES = REGISTRIES | st.sampled_from(["*.io", "g?cr.io", "*ghcr.io", "*.io:1", "*:1", "[a-g]hcr.io"])
REF_WORD = st.text("ab", min_size=1, max_size=3)
REF_PATH = st.lists(REF_WORD, min_size=1, max_size=3)
VERSION = st.sampled_from(["", ":latest", ":a", ":b1", f"@{X}", f":a@{X}", f"@{Y}"])
GLOB_VERSION = VERSION | st.sampled_from([":*", ":a*", f":*@{X}", ":[ab]", "*"])


def on_registry(registry: str, path: list[str]) -> list[str]:
    return ["library", *path] if registry == "docker.io" and len(path) == 1 else path


def covers_part(glob: str, value: str) -> bool:
    return fnmatch.fnmatchcase(value, glob)


def covers_path(globs: list[str], values: list[str]) -> bool:
    """The definition, recursively: `**` matches any number of segments, but at the end at least one."""
    if not globs:
        return not values
    if globs == ["**"]:
        return bool(values)
    if globs[0] == "**":
        return covers_path(globs[1:], values) or (bool(values) and covers_path(globs, values[1:]))
    return bool(values) and covers_part(globs[0], values[0]) and covers_path(globs[1:], values[1:])


@given(
    GLOB_REGISTRIES,
    st.lists(GLOB_WORD | st.just("**"), min_size=1, max_size=4),
    GLOB_VERSION,
    REGISTRIES,
    REF_PATH,
    VERSION,
)
def test_nothing_outside_registry_and_path_ever_matches(
    registry: str, globs: list[str], version: str, ref_registry: str, path: list[str], ref_version: str
) -> None:
    ref = reference.parse(f"{ref_registry}/{'/'.join(path)}{ref_version}")
    text = f"{registry}/{'/'.join(globs)}{version}"
    if version == "*":
        globs = [*globs[:-1], globs[-1] + "*"]
    globs = globs if globs == ["**"] else on_registry(registry, globs)
    host_covered = registry == ref_registry or (
        registry.count(":") == ref_registry.count(":")
        and all(map(covers_part, registry.split(":"), ref_registry.split(":")))
        and "[::" not in registry
    )
    inside = host_covered and covers_path(globs, on_registry(ref_registry, path))
    found = pattern.parse(text)
    assert re.fullmatch(PATTERN_RE2, text)
    if not inside:
        assert not found.matches(ref)
    everything = pattern.parse(f"{registry}/{'/'.join(globs)}:*")
    assert everything.matches(ref) is inside


SUFFIXES = ["x", "-evil", "/x", ".evil.com"]


@given(
    REGISTRIES,
    st.lists(WORD, min_size=2, max_size=3),
    st.sampled_from(SUFFIXES),
    st.sampled_from(["", ":*", ":a"]),
)
def test_a_name_that_only_begins_like_the_pattern_is_another(
    registry: str, path: list[str], suffix: str, version: str
) -> None:
    joined = "/".join(path)
    found = pattern.parse(f"{registry}/{joined}{version}")
    tag = version.replace("*", "a")
    assert found.matches(reference.parse(f"{registry}/{joined}{tag}"))
    assert not found.matches(reference.parse(f"{registry}/{joined}{suffix}{tag}"))
    assert not found.matches(reference.parse(f"{registry}/x{joined}{tag}"))
    assert not found.matches(reference.parse(f"evil.com/{joined}{tag}"))
    if "[" not in registry:
        assert not found.matches(reference.parse(f"evil.com/{registry.replace(':', '-')}/{joined}{tag}"))
        assert not found.matches(reference.parse(f"evil.{registry}/{joined}{tag}"))
        assert not found.matches(reference.parse(f"{registry.replace(':1', '')}.evil.com/{joined}{tag}"))
        assert not found.matches(reference.parse(f"{registry.replace(':1', '')}:99/{joined}{tag}"))


@given(REGISTRIES, REF_PATH, VERSION)
def test_every_canonical_reference_is_a_pattern_for_itself(registry: str, path: list[str], version: str) -> None:
    ref = reference.parse(f"{registry}/{'/'.join(path)}{version}")
    assert pattern.parse(str(ref)).matches(ref)
    assert pattern.parse("**").matches(ref)
    assert pattern.parse(f"{ref.name}:*").matches(ref)


DISJOINT = [
    ("python:*", "node:*"),
    ("python:3.12", "python:3.13"),
    ("python:3.*", "python:2*"),
    ("python:3.12", f"python@{X}"),
    (f"python@{X}", f"python@{Y}"),
    ("ghcr.io/**", "python:*"),
    ("ghcr.io:1/a", "ghcr.io/a"),
    ("ghcr.io/a/*", "ghcr.io/a"),
    ("ghcr.io/a/**", "ghcr.io/b/**"),
    ("ghcr.io/a*c", "ghcr.io/b*c"),
    ("py[a-m]thon:*", "py[n-z]thon:*"),
    ("ghcr.io/**/x/y", "ghcr.io/**/x/z"),
]
MEETING = [
    ("python:*", "python:3.12"),
    ("python:*", f"python@{X}"),
    ("python:3*", "python:*.12"),
    ("**", "ghcr.io/a/b:1"),
    ("ghcr.io/**/x", "ghcr.io/a/**"),
    ("ghcr.io/**", "ghcr.io/**/b"),
    ("py*", "*on:*"),
    ("a?c", "a[a-z]c"),
    ("*.io/a/**", "ghcr.*/a/b"),
    (f"python:*@{X}", "python:*"),
    (f"python:3@{X}", f"python@{X}"),
]


@pytest.mark.parametrize(("one", "other", "disjoint"), [(*p, True) for p in DISJOINT] + [(*p, False) for p in MEETING])
def test_patterns_that_no_image_matches_both(one: str, other: str, disjoint: bool) -> None:
    a, b = pattern.parse(one), pattern.parse(other)
    assert a.is_disjoint(b) is b.is_disjoint(a) is disjoint


GLOB_PATH = st.lists(GLOB_WORD | st.just("**"), min_size=1, max_size=3)


@given(
    st.lists(st.tuples(GLOB_REGISTRIES, GLOB_PATH, GLOB_VERSION), min_size=2, max_size=2),
    st.tuples(REGISTRIES, REF_PATH, VERSION),
)
def test_what_matches_both_is_in_both(
    globs: list[tuple[str, list[str], str]], name: tuple[str, list[str], str]
) -> None:
    one, other = (f"{registry}/{'/'.join(path)}{version}" for registry, path, version in globs)
    assume(not refusal(one) and not refusal(other))
    a, b = pattern.parse(one), pattern.parse(other)
    ref = reference.parse(f"{name[0]}/{'/'.join(name[1])}{name[2]}")
    assert not a.is_disjoint(a)
    assert not (a.is_disjoint(b) and a.matches(ref) and b.matches(ref))
    assert a.takes_digests or ref.digest is None or not a.matches(ref)


def test_patterns_that_are_all_globs_are_compared_at_once() -> None:
    """Each pair of positions is visited once: at most 240 by 240."""
    a, b = pattern.parse("a" + "*?" * 120 + "b"), pattern.parse("a" + "?*" * 120 + "c")
    assert a.is_disjoint(b)


PIECES = [
    *"aZ9/.:@-_*?[]!",
    "**",
    "[a-z]",
    "[!a]",
    "[z-a]",
    "[::1]",
    "docker.io/",
    "localhost/",
    ":5000",
    f"@{X}",
    "{",
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=20))
def test_the_schema_agrees_with_the_parser(text: str) -> None:
    why = refusal(text)
    beyond_re2 = "ends before it begins" in why
    assert beyond_re2 or bool(re.fullmatch(PATTERN_RE2, text)) is (why == "")


def test_the_expression_is_one_for_re2() -> None:
    assert PATTERN_RE2.startswith("^")
    assert PATTERN_RE2.endswith("$")
    assert not re.search(r"\(\?[=!<P]|\\[1-9]|[*+?}][+]", PATTERN_RE2.replace("[*?]", ""))
