"""grammar/reference.py: which texts are one image, what is rejected and with which message, the schema."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar.reference import DIGESTS, MAX_LENGTH, REFERENCE_RE2, Reference, parse

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"

GOOD = {
    "python": "docker.io/library/python:latest",
    "library/python": "docker.io/library/python:latest",
    "docker.io/python": "docker.io/library/python:latest",
    "docker.io/library/python": "docker.io/library/python:latest",
    "index.docker.io/python": "docker.io/library/python:latest",
    "index.docker.io/library/python:latest": "docker.io/library/python:latest",
    "Docker.IO/python": "docker.io/library/python:latest",
    "INDEX.docker.io/library/python": "docker.io/library/python:latest",
    "python:3.12": "docker.io/library/python:3.12",
    "python:V1_x-y.z": "docker.io/library/python:V1_x-y.z",
    "python:_": "docker.io/library/python:_",
    f"python:{'t' * 128}": f"docker.io/library/python:{'t' * 128}",
    f"python@{SHA256}": f"docker.io/library/python@{SHA256}",
    f"python:3.12@{SHA256}": f"docker.io/library/python:3.12@{SHA256}",
    f"python@{SHA512}": f"docker.io/library/python@{SHA512}",
    f"python@sha384:{HEX}{HEX[:32]}": f"docker.io/library/python@sha384:{HEX}{HEX[:32]}",
    "bitnami/redis": "docker.io/bitnami/redis:latest",
    "a/b/c/d": "docker.io/a/b/c/d:latest",
    "ghcr.io/org/app:1": "ghcr.io/org/app:1",
    "GHCR.io/org/app": "ghcr.io/org/app:latest",
    "ghcr.io/app": "ghcr.io/app:latest",
    "docker.io:443/library/python": "docker.io:443/library/python:latest",
    "docker.io:443/python": "docker.io:443/python:latest",
    "index.docker.io:443/python": "index.docker.io:443/python:latest",
    "localhost/a": "localhost/a:latest",
    "LocalHost/a": "localhost/a:latest",
    "localhost:5000/a:b": "localhost:5000/a:b",
    "localhost": "docker.io/library/localhost:latest",
    "localhost:5000": "docker.io/library/localhost:5000",
    "host:80/a": "host:80/a:latest",
    "HOST:80/a": "host:80/a:latest",
    "127.0.0.1:5000/a/b:c": "127.0.0.1:5000/a/b:c",
    "[::1]/a": "[::1]/a:latest",
    "[2001:DB8::1]:5000/a": "[2001:db8::1]:5000/a:latest",
    "xn--n3h.com/a": "xn--n3h.com/a:latest",
    "my-host.example/a": "my-host.example/a:latest",
    "a.b": "docker.io/library/a.b:latest",
    "a_b": "docker.io/library/a_b:latest",
    "a__b": "docker.io/library/a__b:latest",
    "a-----b": "docker.io/library/a-----b:latest",
    "1/2": "docker.io/1/2:latest",
    "docker:24": "docker.io/library/docker:24",
    "oci": "docker.io/library/oci:latest",
    "oci/image:1": "docker.io/oci/image:1",
    "docker.io/library/oci:1.0": "docker.io/library/oci:1.0",
    "dirty:1": "docker.io/library/dirty:1",
    f"docker.io/{HEX}": f"docker.io/library/{HEX}:latest",
    f"{HEX}0": f"docker.io/library/{HEX}0:latest",
    f"{'h' * 252}.io/{'p' * 255}:{'t' * 128}@{SHA512}": f"{'h' * 252}.io/{'p' * 255}:{'t' * 128}@{SHA512}",
    f"ghcr.io/{'p' * 255}": f"ghcr.io/{'p' * 255}:latest",
}

BAD = {
    "": "it is empty",
    " python": "contains a space",
    "python 3": "contains a space",
    "python\n": "contains a space",
    "py\x00thon": "the character '\\x00'",
    "py\u0442hon": "the character '\\u0442'",
    "python:3\u00e9": "the character '\\xe9'",
    "Python": "the path has capital letters; write python instead of Python",
    "library/Python": "the path has capital letters",
    "ghcr.io/Org/app": "the path has capital letters; write org instead of Org",
    "Foo/bar": "Foo is not a registry, since it has no dot or port",
    HEX: "64 hex digits are an image id",
    SHA256: "64 hex digits are an image id",
    "docker://python": "docker:// is a transport or a URL",
    "https://ghcr.io/a/b": "https:// is a transport or a URL",
    "oci:layout": "oci: is a transport",
    "oci:5000/x": "oci: is a transport",
    "oci:/srv/layout:tag": "oci: is a transport",
    "dir:/tmp/x": "dir: is a transport",
    "containers-storage:python": "containers-storage: is a transport",
    "containers-storage:[overlay@/var/lib]python": "containers-storage: is a transport",
    "docker-archive:/tmp/x.tar": "docker-archive: is a transport",
    "oci-archive:x.tar": "oci-archive: is a transport",
    "docker-daemon:python:3": "docker-daemon: is a transport",
    "/python": "a part of its path is empty",
    "python/": "a part of its path is empty",
    "a//b": "a part of its path is empty",
    "ghcr.io/": "a part of its path is empty",
    "ghcr.io//a": "a part of its path is empty",
    ":3.12": "a part of its path is empty",
    f"@{SHA256}": "a part of its path is empty",
    "python.": "begins or ends with a dot",
    ".python": "begins or ends with a dot",
    "a/b-": "begins or ends with a dot",
    "a/_b": "begins or ends with a dot",
    "a..b": "is not a valid name",
    "a___b": "is not a valid name",
    "a._b": "is not a valid name",
    "a%b": "is not a valid name",
    "a,b": "is not a valid name",
    "docker.io./python": "'docker.io.' is not a registry",
    ".io/python": "'.io' is not a registry",
    "-a.io/python": "'-a.io' is not a registry",
    "foo_bar.io/x": "'foo_bar.io' is not a registry",
    "host:port/x": "'host:port' is not a registry",
    "host:/x": "'host:' is not a registry",
    "[::1/x": "is not a registry",
    "[fe80::1%25eth0]/x": "is not a registry",
    "[abc]:80/x": "is not a registry",
    "user@ghcr.io/x": "user and password do not belong",
    "user:password@ghcr.io/x": "user and password do not belong",
    "python:": "nothing follows the colon",
    "python:.1": "the tag '.1' is not valid",
    "python:-1": "the tag '-1' is not valid",
    "python:a:b": "the tag 'a:b' is not valid",
    f"python:{'t' * 129}": "its tag has 129 characters",
    "python@": "has an unknown algorithm",
    "python@latest": "has an unknown algorithm",
    f"python@md5:{HEX[:32]}": "has an unknown algorithm",
    f"python@SHA256:{HEX}": "has an unknown algorithm",
    "python@sha256:abc": "the digest has 3 hex digits; sha256 has 64",
    f"python@sha256:{HEX}0": "the digest has 65 hex digits",
    f"python@sha512:{HEX}": "the digest has 64 hex digits; sha512 has 128",
    f"python@sha256:{HEX.upper()}": "may contain only 0-9 and a-f",
    f"python@{SHA256}\n": "contains a space",
    f"python@{SHA256}:3.12": "may contain only 0-9 and a-f",
    f"{'h' * 253}.io/p": "its registry has 256 characters; at most 255 are allowed",
    f"ghcr.io/{'p' * 256}": "its path has 256 characters; at most 255 are allowed",
    "p" * 250: "its path has 258 characters",
    "a" * (MAX_LENGTH + 1): f"at most {MAX_LENGTH} are allowed",
    "." * 1_000_000: f"at most {MAX_LENGTH} are allowed",
}

# What the schema's expression cannot check; its docstring lists the kinds.
BEYOND_RE2 = {
    text
    for text, why in BAD.items()
    if text in (HEX, "oci:layout", "oci:5000/x", "containers-storage:python", "oci-archive:x.tar")
    or "at most 255 are allowed" in why
    or "its path has" in why
    or (f"at most {MAX_LENGTH} are allowed" in why and "." not in text)
}


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_the_canonical_form(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


def test_the_parts() -> None:
    ref = parse(f"GHCR.io:443/org/app:1@{SHA256}")
    assert ref == Reference("ghcr.io:443", "org/app", "1", SHA256)
    assert ref.name == "ghcr.io:443/org/app"
    assert parse(f"python@{SHA256}").tag is None


@pytest.mark.parametrize(("text", "why"), BAD.items(), ids=[repr(t[:40]) for t in BAD])
def test_what_is_no_reference_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert why in caught.value.message
    assert "is not an image reference: " in caught.value.message
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()


def test_a_transport_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match=r"write docker\.io/library/oci:…"):
        parse("oci:1.0")


LABEL = st.text(string.ascii_letters + string.digits, min_size=1, max_size=4)
REGISTRY = st.one_of(
    st.sampled_from(["docker.io", "index.docker.io", "Docker.io", "localhost", "LOCALHOST:1", "[::1]", "[::A]:5000"]),
    st.builds("{}.{}".format, LABEL, LABEL),
    st.builds("{}-{}:{}".format, LABEL, LABEL, st.integers(1, 65535)),
)
WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4)
SEGMENT = st.one_of(WORD, st.builds("{}{}{}".format, WORD, st.sampled_from([".", "_", "__", "-", "---"]), WORD))
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,8}", fullmatch=True)
DIGEST = st.sampled_from(list(DIGESTS)).flatmap(
    lambda a: st.text("0123456789abcdef", min_size=DIGESTS[a], max_size=DIGESTS[a]).map(lambda h: f"{a}:{h}")
)
NAME = st.builds("{}/{}".format, REGISTRY, PATH)


@given(NAME, st.none() | TAG, st.none() | DIGEST)
def test_parsing_a_canonical_form_again_changes_nothing(name: str, tag: str | None, digest: str | None) -> None:
    text = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    ref = parse(text)
    assert parse(str(ref)) == ref
    assert (ref.tag, ref.digest) == (tag if tag or digest else "latest", digest)
    assert re.fullmatch(REFERENCE_RE2, text)
    assert re.fullmatch(REFERENCE_RE2, str(ref))


# Texts close to the grammar, so that many are references and many almost are.
PIECES = [
    *"aZ9/.:@-_[]",
    "//",
    "__",
    "docker.io/",
    "localhost/",
    "[::1]",
    ":5000",
    ":1",
    SHA256,
    f"@{SHA256}",
    "é",
    "\n",
]
NEAR = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(NEAR | st.text())
def test_whatever_is_written_is_canonical_in_the_end_or_refused_by_the_schema_too(text: str) -> None:
    try:
        ref = parse(text)
    except InvalidInput:
        assert text == SHA256 or not re.fullmatch(REFERENCE_RE2, text)
    else:
        assert parse(str(ref)) == ref
        assert re.fullmatch(REFERENCE_RE2, text)


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_takes_every_reference(text: str) -> None:
    assert re.fullmatch(REFERENCE_RE2, text)


@pytest.mark.parametrize("text", [t for t in BAD if len(t) < 1100 and t not in BEYOND_RE2 and t != SHA256])
def test_the_schema_refuses_what_it_can(text: str) -> None:
    assert not re.fullmatch(REFERENCE_RE2, text)


def test_the_expression_is_one_for_re2() -> None:
    assert REFERENCE_RE2.startswith("^")
    assert REFERENCE_RE2.endswith("$")
    assert not re.search(r"\(\?[=!<P]|\\[1-9]|[*+?}][+]", REFERENCE_RE2)
