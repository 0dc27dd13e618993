"""Which package is which tool, which version it states, and which evidence counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan.contents import (
    LONGEST_NAME,
    TOOLS,
    Evidence,
    OperatingSystem,
    Source,
    Tool,
    choose,
    operating_system,
)
from stromboli.plan.packages import _BY_DATABASE, Database, Package, evidence_of, likely_order, upstream


@pytest.mark.parametrize(
    ("version", "stated"),
    [
        ("5.2.15-2+b2", "5.2.15"),
        ("1:2.39.2-1.1", "2.39.2"),
        ("2:1.19~1", "1.19"),
        ("18.19.0+dfsg-6~deb12u2", "18.19.0"),
        ("20.10.24+dfsg1-1+deb12u1+b2", "20.10.24"),
        ("4.5.6.dfsg.1-2", "4.5.6"),
        ("1.2+ds1-1", "1.2"),
        ("1.2+ds-1", "1.2"),
        ("1.2words-1", "1.2words"),
        ("17.0.11+9-1~deb12u1", "17.0.11+9"),
        ("3.13.0~rc1-1", "3.13.0~rc1"),
        ("9.9+really1.2.3-1", "1.2.3"),
        ("5:26.1.4-1~debian.12~bookworm", "26.1.4"),
        ("1-2-3", "1-2"),
        ("2024a", "2024a"),
    ],
)
def test_debians_versions(version: str, stated: str) -> None:
    assert upstream(Database.DPKG, version) == stated


@pytest.mark.parametrize(("version", "stated"), [("3.12.3-r1", "3.12.3"), ("17.0.11_p9-r0", "17.0.11_p9")])
def test_alpines_versions(version: str, stated: str) -> None:
    assert upstream(Database.APK, version) == stated


@given(st.sampled_from(Database), st.text(max_size=40))
def test_any_version(database: Database, version: str) -> None:
    assert len(upstream(database, version)) <= len(version)


@pytest.mark.parametrize(
    ("database", "package", "tool"),
    [
        (Database.DPKG, "python3.11-minimal", "python"),
        (Database.DPKG, "python2.7-minimal", None),
        (Database.DPKG, "python2-pip", None),
        (Database.DPKG, "gcc-12-base", None),
        (Database.DPKG, "gcc-12", None),
        (Database.DPKG, "libgcc-s1", None),
        (Database.DPKG, "golang-1.19-go", None),
        (Database.DPKG, "git-man", None),
        (Database.DPKG, "default-mysql-client", None),
        (Database.APK, "postgresql15-client", "psql"),
        (Database.APK, "git-daemon", None),
        (Database.RPM, "platform-python", None),
        (Database.RPM, "python3-libs", None),
        (Database.RPM, "java-21-openjdk-headless", "java"),
        (Database.RPM, "kubernetes1.30-client", "kubectl"),
        (Database.RPM, "golang-go", None),
    ],
)
def test_which_package_is_which_tool(database: Database, package: str, tool: str | None) -> None:
    found = evidence_of(database, Package(package, "1.0"))
    assert (found.tool if found is not None else None) == tool


def test_a_version_that_is_not_the_tools() -> None:
    for version, stated in (("1.30.2-1.1", "1.30.2"), ("1:528.0.0-0", "")):
        found = evidence_of(Database.DPKG, Package("kubectl", version))
        assert found is not None
        assert found.version == stated


@pytest.mark.parametrize("database", Database)
def test_packages_are_of_tools_that_are_shown(database: Database) -> None:
    assert {tool for tool, _ in _BY_DATABASE[database].values()} <= set(TOOLS)


@pytest.mark.parametrize(
    ("system", "first"),
    [
        ("debian", Database.DPKG),
        ("alpine", Database.APK),
        ("rhel", Database.RPM),
        ("opensuse-tumbleweed", Database.RPM),
        ("", Database.DPKG),
        ("new", Database.DPKG),
    ],
)
def test_where_a_database_is_looked_for_first(system: str, first: Database) -> None:
    order = likely_order(system)
    assert order[0] is first
    assert set(order) == set(Database)


def piece(version: str, source: Source, weight: int = 0) -> Evidence:
    return Evidence("node", version, source, weight)


@pytest.mark.parametrize(
    ("evidence", "version"),
    [
        ([piece("18.19.0", Source.PACKAGE), piece("20.1.0", Source.FILE)], "20.1.0"),
        ([piece("20.1.0", Source.FILE), piece("99.0", Source.VARIABLE)], "20.1.0"),
        ([piece("18.19.0", Source.PACKAGE), piece("99.0", Source.VARIABLE)], "18.19.0"),
        ([piece("", Source.FILE), piece("1.0", Source.PROGRAM)], "1.0"),
        ([piece("\x1b[2J", Source.FILE), piece("1.0", Source.PACKAGE)], "1.0"),
        ([piece("9.0", Source.PACKAGE), piece("10.0", Source.PACKAGE)], "10.0"),
        ([piece("9.0", Source.PACKAGE, 1), piece("10.0", Source.PACKAGE)], "9.0"),
        ([piece("9.0", Source.FILE, -1), piece("8.0", Source.FILE, 0)], "8.0"),
        ([piece("1\n2", Source.PACKAGE)], ""),
        ([piece("1" * 65, Source.PACKAGE)], ""),
    ],
)
def test_which_evidence_counts(evidence: list[Evidence], version: str) -> None:
    assert choose(evidence) == (Tool("node", version),)
    assert choose(reversed(evidence)) == (Tool("node", version),)


def test_each_tool_once_in_order_and_no_others() -> None:
    names = ["terraform", "python", "git", "python", "unheard-of"]
    found = choose(Evidence(name, "1.0", Source.PACKAGE) for name in names)
    assert [tool.name for tool in found] == ["python", "git", "terraform"]


@given(st.dictionaries(st.sampled_from(["ID", "VERSION_ID", "NAME", "PRETTY_NAME"]), st.text(max_size=400)))
def test_any_os_release(fields: dict[str, str]) -> None:
    found = operating_system(fields)
    if found is None:
        assert not fields
        return
    for text in (found.id, found.version, found.name):
        assert len(text) <= LONGEST_NAME
        assert "\n" not in text
        assert "\x1b" not in text


def test_os_release() -> None:
    assert operating_system({}) is None
    assert operating_system({"ID": "Arch", "NAME": "Arch Linux"}) == OperatingSystem("arch", "", "Arch Linux")
    assert operating_system({"NAME": "x\ty"}) == OperatingSystem("linux", "", "x y")
