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
        "FROM scratch AS stromboli-mount-0",
        'COPY --from=stromboli-stage-0 ["/", "/mounted"]',
        f"FROM {'2' * 64} AS stromboli-stage-1",
        "COPY --from=stromboli-stage-0 /a /b",
        f"COPY --from={'3' * 64} /c /d",
        "RUN --mount=type=bind,from=stromboli-mount-0,source=/mounted,target=/t x",
    ]
    assert found.target("Tools") == "stromboli-stage-0"
    assert found.target(None) is None
    with pytest.raises(InvalidInput, match="no stage nope"):
        found.target("nope")


def test_a_mount_cannot_lead_out_of_the_build() -> None:
    found = reached(
        "FROM a\nFROM b\nRUN --network=default --mount=type=bind,source=/link/./x,target=/t,ro x"
        "\nRUN --mount=type=cache,id=../../etc,target=/c,sharing=locked --mount=type=tmpfs,target=/m,size=9 y"
        "\nRUN --mount=target=.,rw --mount=from=evil,source=uv,dst=/bin/uv z"
    )
    assert [base.reference for base in found.bases] == ["a", "b", "evil"]
    assert found.pinned({"a": "A", "b": "B", "evil": "E"}).splitlines() == [
        "FROM A AS stromboli-stage-0",
        "FROM scratch AS stromboli-mount-0",
        'COPY ["link/x", "/mounted"]',
        "FROM scratch AS stromboli-mount-1",
        'COPY [".", "/mounted"]',
        "FROM scratch AS stromboli-mount-2",
        'COPY --from=E ["uv", "/mounted"]',
        "FROM B AS stromboli-stage-1",
        "RUN --mount=type=bind,from=stromboli-mount-0,source=/mounted,target=/t x",
        "RUN --mount=type=tmpfs,target=/c --mount=type=tmpfs,target=/m,tmpfs-size=9 y",
        "RUN --mount=type=bind,from=stromboli-mount-1,source=/mounted,target=.,rw"
        " --mount=type=bind,from=stromboli-mount-2,source=/mounted,target=/bin/uv z",
    ]


def test_what_a_stage_takes_from_its_image() -> None:
    found = reached("FROM a\nFROM scratch\nFROM a AS x\nFROM x\nRUN --mount=from=a,target=/t x")
    assert found.pinned({"a": "A"}, {"a": ["HEALTHCHECK NONE"]}).splitlines() == [
        "FROM A AS stromboli-stage-0",
        "HEALTHCHECK NONE",
        "FROM scratch AS stromboli-stage-1",
        "FROM A AS stromboli-stage-2",
        "HEALTHCHECK NONE",
        "FROM scratch AS stromboli-mount-0",
        'COPY --from=A ["/", "/mounted"]',
        "FROM stromboli-stage-2 AS stromboli-stage-3",
        "RUN --mount=type=bind,from=stromboli-mount-0,source=/mounted,target=/t x",
    ]


def test_flags_that_the_builder_does_not_know_and_nobody_needs() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM a\nCOPY --link --chown=1:1 x /y\nADD --link=true x /y\n"
        "HEALTHCHECK --interval=5s --start-interval=1s CMD true"
    )
    assert reached(text).pinned({"a": "A"}).splitlines() == [
        "FROM A AS stromboli-stage-0",
        "COPY --chown=1:1 x /y",
        "ADD x /y",
        "HEALTHCHECK --interval=5s CMD true",
    ]


def test_the_argument_that_decides_an_image() -> None:
    text = "ARG BASE=debian\nARG TAG=12\nARG NAME=${BASE}:${TAG}\nFROM ${NAME}\nFROM other:$TAG"

    def decided(**arguments: str) -> list[str | None]:
        return [base.argument for base in reached(text, **arguments).bases]

    assert decided() == [None, None]
    assert decided(BASE="evil") == ["BASE", None]
    assert decided(TAG="1") == ["TAG", "TAG"]
    assert decided(NAME="evil") == ["NAME", None]


@pytest.mark.parametrize(
    "text",
    [
        "ADD ./app-$V.tar.gz /y",
        'ADD ["a b", "/y"]',
        "ENV PATH=$PATH:/x A=$B",
        "ENV PATH $PATH:/x",
        "RUN echo $((1 << 2)) $((1<<2))",
        "RUN sort <<< word",
        "COPY --chown=$U:$U --chmod=0644 a /b",
    ],
)
def test_what_is_not_refused(text: str) -> None:
    assert reached(f"FROM a\n{text}").pinned({"a": "A"}).splitlines()[1] == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no FROM"),
        ("RUN x\nFROM a", "line 1: only ARG"),
        ("FROM $X", "line 1: .*cannot be filled in"),
        ("FROM a\nARG X=evil\nCOPY --from=$X /a /b", "line 3: .*without variables"),
        ("FROM a\nARG X=evil\nRUN --mount=from=$X,target=/t x", "line 3: .*without quotes, variables"),
        ("FROM a\nRUN --mount=type=secret,id=x y", "line 2: RUN --mount is of type"),
        ("FROM a\nRUN --mount=type=ssh y", "line 2: RUN --mount is of type"),
        ("FROM a\nRUN --mount=from=a,from=b,target=/t y", "line 2: .*twice"),
        ("FROM a\nRUN --mount=target=/t,source=../x y", "line 2: the source of a --mount has no .."),
        ("FROM a\nRUN --mount=type=bind,source=x y", "line 2: a --mount names its target"),
        ("FROM a\nRUN --mount=type=cache,from=evil,target=/t y", "line 2: a --mount of type cache has no option from"),
        ('FROM a\nRUN --mount="type=bind",target=/t y', "line 2: write --mount without quotes"),
        ("FROM a\nRUN --network=none y", "line 2: RUN --network is default"),
        ('FROM a\nCOPY --chown="1 a" --from=evil /x /y', "line 2: write --chown without quotes"),
        ("FROM a\nCOPY --from=ev\\il /x /y", "line 2: write --from without quotes"),
        ("# escape=`\nFROM a\nRUN x \\\nCOPY --from=evil /a /b", "line 3: an instruction does not end in a backslash"),
        ("FROM a\nADD https://evil.example/x /y", "line 2: ADD fetches nothing"),
        ('FROM a\nADD ["x", "\\u0068ttp://169.254.169.254/", "/y"]', "line 2: ADD fetches nothing"),
        ('FROM a\nADD h"t"tp:/""/evil /y', "line 2: a source of ADD"),
        ("FROM a\nARG U=http://evil\nADD ${U} /y", "line 3: a source of ADD"),
        ("FROM a\nADD git@evil.example:x /y", "line 2: ADD fetches nothing"),
        ("FROM a\nADD --checksum=x https://evil.example/x /y", "line 2: ADD --checksum is not supported"),
        ("FROM a\nRUN cat <<1\nx\n1", "line 2: here-documents"),
        ("FROM a\nRUN --security=insecure y", "line 2: RUN --security is not supported"),
        ("FROM a\nRUN --network=host y", "line 2: RUN --network"),
        ("FROM a\nRUN --mount=FROM=a,target=/t y", "line 2: .*no option FROM"),
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
