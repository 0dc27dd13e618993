"""Every image that a Dockerfile can reach is found, and is an id in the file that is built."""

from __future__ import annotations

import pytest

from stromboli.compose.dockerfile.lines import parse
from stromboli.compose.dockerfile.reach import Reach, reach
from stromboli.errors import InvalidInput


def reached(text: str, **arguments: str) -> Reach:
    return reach(parse(text.encode()), arguments)


def bases(text: str, **arguments: str) -> list[str]:
    return [base.reference for base in reached(text, **arguments).bases]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM python:3.12", ["python:3.12"]),
        ("from python:3.12 as base\nFROM base\nRUN true", ["python:3.12"]),
        ("FROM a AS Base\nFROM BASE\nCOPY --from=base /x /y", ["a"]),
        ("FROM a\nFROM 0", ["a", "0"]),
        ("FROM a\nFROM b\nCOPY --from=0 /x /y\nCOPY --from=1 /x /y", ["a", "b", "1"]),
        ("FROM a\nCOPY --chown=1:1 --from=evil.example/x:1 /x /y", ["a", "evil.example/x:1"]),
        ("FROM a\nRUN --mount=type=bind,from=evil,target=/x --mount=type=cache,target=/y make", ["a", "evil"]),
        ("FROM a\nRUN --mount=from=evil,target=/x make", ["a", "evil"]),
        ("FROM scratch\nCOPY x /", []),
        ("FROM \\\n  # a comment\n\n  python:3.12 \\\n AS base", ["python:3.12"]),
        ("# escape=`\nFROM `\npython:3.12", ["python:3.12"]),
        ("\ufeffFROM a\r\nRUN x\r\n", ["a"]),
        ("FROM --platform=$BUILDPLATFORM a", ["a"]),
        ("FROM a AS later\nCOPY --from=later /x /y", ["a", "later"]),
    ],
)
def test_every_image_is_found(text: str, found: list[str]) -> None:
    assert bases(text) == found


def test_variables_of_a_from_are_those_before_it() -> None:
    text = "ARG BASE=debian\nARG TAG=12\nARG NAME=${BASE}:${TAG:-13}\nFROM ${NAME}\nARG BASE=evil\nFROM $BASE"
    assert bases(text) == ["debian:12", "debian"]
    assert bases(text, BASE="evil.example/x") == ["evil.example/x:12", "evil.example/x"]
    assert bases("ARG A\nFROM ${A:-b}${A:+c}") == ["b"]
    assert bases("ARG A\nFROM ${A:-b}${A:+c}", A="x") == ["xc"]


def test_syntax_is_an_image_too() -> None:
    found = reached("# syntax=evil.example/frontend:1\nFROM a")
    assert found.syntax == "evil.example/frontend:1"
    assert reached("FROM a\n# syntax=evil").syntax is None


def test_what_is_built_has_ids_only() -> None:
    found = reached(
        "ARG V=12\nFROM debian:$V AS tools\nRUN make \\\n  all\nFROM python\n"
        "COPY --from=tools /a /b\nCOPY --from=busybox /c /d\nRUN --mount=from=tools,target=/t x"
    )
    ids = {"debian:12": "1" * 64, "python": "2" * 64, "busybox": "3" * 64}
    assert found.pinned(ids).splitlines() == [
        "ARG V=12",
        f"FROM {'1' * 64} AS stromboli-stage-0",
        "RUN make   all",
        f"FROM {'2' * 64} AS stromboli-stage-1",
        "COPY --from=stromboli-stage-0 /a /b",
        f"COPY --from={'3' * 64} /c /d",
        "RUN --mount=from=stromboli-stage-0,target=/t x",
    ]
    assert found.target("Tools") == "stromboli-stage-0"
    assert found.target(None) is None
    with pytest.raises(InvalidInput, match="no stage nope"):
        found.target("nope")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no FROM"),
        ("RUN x\nFROM a", "line 1: only ARG"),
        ("FROM $X", "line 1: .*cannot be filled in"),
        ("FROM a\nARG X=evil\nCOPY --from=$X /a /b", "line 3: .*without variables"),
        ("FROM a\nARG X=evil\nRUN --mount=from=$X,target=/t x", "line 3: .*without variables"),
        ("FROM a\nRUN --mount=type=secret,id=x y", "line 2: RUN --mount is of type"),
        ("FROM a\nRUN --mount=type=ssh y", "line 2: RUN --mount is of type"),
        ("FROM a\nRUN --mount=from=a,from=b,target=/t y", "line 2: .*twice"),
        ("FROM a\nRUN --mount=from=a,target=/t --mount=from=b,target=/u y", "line 2: only one"),
        ("FROM a\nRUN --security=insecure y", "line 2: RUN --security is not supported"),
        ("FROM a\nRUN --network=host y", "line 2: RUN --network"),
        ("FROM a\nRUN --mount=FROM=a,target=/t y", "line 2: .*lower case"),
        ("FROM a\nCOPY --from=a --from=b /x /y", "line 2: --from is given twice"),
        ("FROM a\nCOPY --parents /x /y", "line 2: COPY --parents is not supported"),
        ("FROM a\nADD --keep-git-dir=true x /y", "line 2: ADD --keep-git-dir is not supported"),
        ("FROM a\nONBUILD COPY --from=evil /a /b", "line 2: ONBUILD"),
        ("FROM a\nRUN <<EOF\nx\nEOF", "line 2: here-documents"),
        ("FROM a\nINCLUDE x", "line 2: INCLUDE is not an instruction"),
        ("FROM --platform=linux/arm64 a", "line 1: --platform"),
        ("FROM a b", "line 1: a FROM is"),
        ("FROM a AS x\nFROM b AS X", "line 2: X cannot be the name of a stage"),
        ("FROM a AS 0", "line 1: 0 cannot be the name"),
        ("# syntax=a\n# syntax=b\nFROM a", "line 2: the directive syntax is given twice"),
        ("FROM a\0", "line 1 has a NUL"),
    ],
)
def test_what_cannot_be_judged_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        reached(text)


def test_bounds() -> None:
    with pytest.raises(InvalidInput, match="more than 1000 instructions"):
        parse(b"FROM a\n" + b"RUN x\n" * 1000)
    with pytest.raises(InvalidInput, match="too large"):
        parse(b"#" * 300_000)
    with pytest.raises(InvalidInput, match="UTF-8"):
        parse(b"FROM \xff")
