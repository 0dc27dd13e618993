"""Images whose files say what is not true, or are not what they seem, for `test_contents.py`."""

from __future__ import annotations

from stromboli.plan.contents import OperatingSystem
from tests.support.contents import (
    DEBIAN,
    DEBIAN_OS,
    FEDORA,
    FEDORA_OS,
    GO,
    IN_SLIM,
    NODE,
    SLIM,
    VAR_RPM,
    Case,
    dpkg,
    dpkg_status,
    folder,
    link,
    pipe,
    programs,
    release,
    rpm,
    text,
)

HUGE = "x" * 10_000
LIES = (
    Case(
        "a variable and no file",
        (DEBIAN, dpkg(*SLIM)),
        IN_SLIM,
        DEBIAN_OS,
        (
            "GOLANG_VERSION=1.22.4",
            "NODE_VERSION=20",
            "JAVA_VERSION=21",
            "PYTHON_VERSION=3.12.4",
            f"JAVA_HOME=/opt/java/{HUGE}",
        ),
    ),
    Case(
        "a variable that says otherwise than the file",
        NODE,
        "node 20.15.1, npm 10.7.0, yarn 1.22.22",
        env=("NODE_VERSION=99.0.0",),
    ),
    Case("a variable that is no version", (programs("/usr/local/bin/bun"),), "bun", env=("BUN_VERSION=\x1b[31mred",)),
    Case("a version that is no version", (DEBIAN, dpkg("git 1:\x1b[2J-1", f"jq 1{HUGE}")), "git, jq", DEBIAN_OS),
    Case(
        "a file that is no program",
        (DEBIAN, dpkg(*SLIM), text("/usr/local/bin/node", "#!/bin/sh\n")),
        IN_SLIM,
        DEBIAN_OS,
        ("NODE_VERSION=20.15.1",),
    ),
    Case(
        "links that lead nowhere, in circles, or out",
        (
            link("/usr/local/bin/python3", "/nowhere"),
            link("/usr/local/bin/node", "node"),
            link("/usr/local/bin/git", "../../../../../../../../../../bin/true"),
            link("/etc/os-release", "../../../../../../../../../../../etc/os-release"),
            link("/var/lib/dpkg/status", "../../../../../../../../../../../../var/lib/dpkg/status"),
        ),
        "",
    ),
    Case(
        "a folder in place of a program",
        (folder("/usr/local/bin/node"), folder("/etc/os-release"), folder("/var/lib/dpkg/status")),
        "",
    ),
    Case(
        "pipes in place of files",
        (
            pipe("/etc/os-release"),
            text("/usr/lib/os-release", "ID=debian\n"),
            pipe("/var/lib/dpkg/status"),
            pipe("/var/lib/dpkg/status.d/base"),
            pipe("/lib/apk/db/installed"),
            pipe("/var/lib/rpm/rpmdb.sqlite"),
            pipe("/var/lib/rpm/Packages"),
            pipe("/usr/local/go/VERSION"),
            pipe("/usr/local/bin/node"),
            pipe("/usr/local/lib/pkgconfig/ruby.pc"),
            programs("/usr/local/go/bin/go", "/usr/local/bin/ruby"),
        ),
        "go, ruby",
        OperatingSystem("debian"),
    ),
    Case(
        "a database of another distribution",
        (FEDORA, dpkg("git 1:9.9-1"), rpm("bdb", "jq 1.6", path=f"{VAR_RPM}/Packages")),
        "jq 1.6",
        FEDORA_OS,
    ),
    Case(
        "an os-release that is a lie", (release("fedora", "40"), dpkg(*SLIM)), IN_SLIM, OperatingSystem("fedora", "40")
    ),
    Case("no os-release", (dpkg(*SLIM),), IN_SLIM),
    Case(
        "an os-release of control characters",
        (text("/etc/os-release", "ID=\x1b[31m\nNAME='a\x1b]0;b\x07\u202e'\nVERSION_ID=1\x00\n" + "X=1\n" * 30_000),),
        "",
        OperatingSystem("linux", "1\\x00", "a\\x1b]0;b\\x07\\u202e"),
    ),
    Case(
        "an os-release that goes on and on",
        (text("/etc/os-release", f'ID=debian\nPRETTY_NAME="{HUGE}"\n'),),
        "",
        OperatingSystem("debian", "", "x" * 127 + "…"),
    ),
    Case(
        "a package that was removed",
        (DEBIAN, dpkg("git 1:2.39.2-1.1", status="deinstall ok config-files")),
        "",
        DEBIAN_OS,
    ),
    Case(
        "a compiler's library",
        (DEBIAN, dpkg("gcc-12-base 12.2.0-14", "gcc-12 12.2.0-14", "libpython3.11 3.11.2-6", "python2 2.7")),
        "",
        DEBIAN_OS,
    ),
    Case(
        "a truncated database",
        (
            DEBIAN,
            text("/var/lib/dpkg/status", dpkg_status(SLIM) + "Package: git\nStatus: install ok inst"),
            programs("/usr/bin/git", "/usr/bin/python3.11"),
            link("/usr/bin/python3", "python3.11"),
        ),
        f"{IN_SLIM}, git, python 3.11",
        DEBIAN_OS,
    ),
    Case("rpm's database is text", (FEDORA, text(f"{VAR_RPM}/Packages", "Package: git\n" * 1000)), "", FEDORA_OS),
    Case(
        "a package.json that is deep, and one of a list",
        (
            *NODE[:1],
            text("/usr/local/lib/node_modules/npm/package.json", "[" * 100_000),
            link("/usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js"),
            link("/usr/local/bin/yarn", "/opt/yarn-v1.22.22/bin/yarn"),
            text("/opt/yarn-v1.22.22/package.json", "[1]"),
        ),
        "node, npm, yarn",
    ),
    Case(
        "a PATH of a thousand folders",
        GO,
        "go 1.22.4",
        env=("PATH=" + ":".join(f"/{n}" for n in range(1000)), "JAVA_HOME=relative"),
    ),
)
