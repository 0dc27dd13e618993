"""os-release, and the databases that are text: of any bytes, in any pieces, and of any size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents import apk, dpkg, osrelease, paragraphs
from stromboli.plan.packages import Package

STATUS = b"""\
Package: bash
Essential: yes
Status: install ok installed
Version: 5.2.15-2+b2
Description: a shell
 Package: not-a-field
 .
 more

Package: gone
Status: deinstall ok config-files
Version: 1.0-1

Package: half
Status: install ok half-installed
Version: 1.0-1

Package: last
Status: install ok installed
Version: 2:3.4-5

"""


def told(packages: Iterator[Package]) -> tuple[list[Package], bool]:
    """The packages, and whether those are all."""
    found = []
    try:
        for package in packages:
            found.append(package)
    except InvalidDatabase:
        return found, False
    return found, True


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
def test_the_pieces_do_not_matter(size: int) -> None:
    chunks = [STATUS[at : at + size] for at in range(0, len(STATUS), size)]
    assert list(dpkg.packages(chunks)) == [Package("bash", "5.2.15-2+b2"), Package("last", "2:3.4-5")]


def test_line_ends_of_windows() -> None:
    found = list(dpkg.packages([STATUS.replace(b"\n", b"\r\n")]))
    assert found == [Package("bash", "5.2.15-2+b2"), Package("last", "2:3.4-5")]


def test_dpkgs_own_database() -> None:
    """The one of the machine that runs the test, if it is a Debian, read whole and in small pieces."""
    status = Path(dpkg.STATUS)
    data = status.read_bytes() if status.exists() else STATUS
    found = list(dpkg.packages([data]))
    assert found == list(dpkg.packages(data[at : at + 4096] for at in range(0, len(data), 4096)))
    assert "bash" in {package.name for package in found}
    assert len(found) == data.count(b"\nStatus: install ok installed\n")


def test_apk() -> None:
    data = b"C:Q1a=\nP:musl\nV:1.2.5-r0\nA:x86_64\nT:P:not\n\nC:Q1b=\nP:git\nV:2.45.2-r0\n\nP:no-version\n\n"
    assert list(apk.packages([data])) == [Package("musl", "1.2.5-r0"), Package("git", "2.45.2-r0")]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes(chunks: list[bytes]) -> None:
    for package in (*told(dpkg.packages(chunks))[0], *told(apk.packages(chunks))[0]):
        assert package.name
        assert len(package.version) <= 256
    osrelease.parse(b"".join(chunks))


@given(
    st.lists(st.sampled_from([b"Package: a\n", b"Version: 1\n", b"\n", b"P:", b"V:2", b"\r\n", b": ", b"x" * 70_000]))
)
def test_any_order_of_lines(chunks: list[bytes]) -> None:
    for package in (*told(dpkg.packages(chunks))[0], *told(apk.packages(chunks))[0]):
        assert len(package.name) <= 256


def test_a_line_that_does_not_end() -> None:
    endless = (b"x" * 100_000 for _ in range(100))
    assert told(dpkg.packages([b"Package: a\nVersion: 1\nDescription: ", *endless])) == ([Package("a", "1")], False)


def test_one_that_ends_in_the_middle() -> None:
    assert told(dpkg.packages([STATUS]))[1]
    found, all_of_them = told(dpkg.packages([STATUS[:-20]]))
    assert (found, all_of_them) == ([Package("bash", "5.2.15-2+b2")], False)


def test_too_many_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraphs, "MOST", 3)
    found, all_of_them = told(apk.packages([b"P:a\nV:1\n\n" * 10]))
    assert (len(found), all_of_them) == (3, False)


def test_what_is_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraphs, "LIMIT", 30)
    assert len(list(apk.packages([b"P:a\nV:1\n\n"] * 10))) == 3


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=Alpine", "Alpine"),
        ('NAME="Debian GNU/Linux"', "Debian GNU/Linux"),
        ("NAME='single $x'", "single $x"),
        (r'NAME="a \"quoted\" \$x \\ \`"', 'a "quoted" $x \\ `'),
        ("NAME=", ""),
        ('NAME="crlf"\r', "crlf"),
        ("NAME=first\nNAME=second", "second"),
    ],
)
def test_an_assignment(line: str, value: str) -> None:
    assert osrelease.parse(f"# comment\n{line}\n".encode()) == {"NAME": value}


@pytest.mark.parametrize("line", ["NAME=two words", "NAME=$(id)", 'NAME="open', "name=lower", " NAME=x", "NAME=`id`"])
def test_what_is_no_assignment(line: str) -> None:
    assert osrelease.parse(f"{line}\n".encode()) == {}
