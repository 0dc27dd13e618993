"""Contents of images as they are published: the files that are read of them, and what is found in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stromboli.plan.contents import OperatingSystem, Tool
from tests.support import rpmdb
from tests.support.opener import Image

Part = Callable[[Image], object]

LOCAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Case:
    """An image, and what is found in it: `tools` are `name version` or, without one, the name, in any order."""

    name: str
    parts: tuple[Part, ...]
    tools: str
    os: OperatingSystem | None = None
    env: tuple[str, ...] = (f"PATH={LOCAL}",)


def tools(text: str) -> set[Tool]:
    """The tools of a case."""
    return {Tool(*entry.split()) for entry in text.split(", ") if entry}


def fill(image: Image, case: Case) -> None:
    """Write a case's files below the root of `image`."""
    image.root.mkdir(exist_ok=True)
    for part in case.parts:
        part(image)


def text(path: str, content: str) -> Part:
    return lambda image: image.file(path, content.encode(), 0o644)


def programs(*paths: str) -> Part:
    def make(image: Image) -> None:
        for path in paths:
            image.file(path, b"\x7fELF")

    return make


def link(path: str, target: str) -> Part:
    return lambda image: image.link(path, target)


def pipe(path: str) -> Part:
    def make(image: Image) -> None:
        target = image.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(target)

    return make


def folder(path: str) -> Part:
    return lambda image: (image.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)


def release(identity: str, version: str = "", name: str = "") -> Part:
    lines = [f"ID={identity}", f'VERSION_ID="{version}"' if version else "", f'PRETTY_NAME="{name}"' if name else ""]
    return text("/etc/os-release", "\n".join(line for line in lines if line) + "\n")


def dpkg_status(packages: Iterable[str], status: str = "install ok installed") -> str:
    pairs = (package.split() for package in packages)
    return "".join(
        f"Package: {name}\nStatus: {status}\nPriority: optional\nVersion: {version}\nDescription: some\n more\n .\n\n"
        for name, version in pairs
    )


def dpkg(*packages: str, status: str = "install ok installed") -> Part:
    return text("/var/lib/dpkg/status", dpkg_status(packages, status))


def distroless(*packages: str) -> Part:
    def make(image: Image) -> None:
        for package in packages:
            name, version = package.split()
            content = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            image.file(f"/var/lib/dpkg/status.d/{name}", content.encode(), 0o644)
            image.file(f"/var/lib/dpkg/status.d/{name}.md5sums", b"0" * 32 + b"  usr/x\n", 0o644)

    return make


def apk(*packages: str, path: str = "/lib/apk/db/installed") -> Part:
    pairs = [package.split() for package in packages]
    entries = (f"C:Q1x=\nP:{name}\nV:{version}\nA:x86_64\nF:usr/bin\nR:{name}\nZ:Q1y=\n\n" for name, version in pairs)
    return text(path, "".join(entries))


def rpm(kind: str, *packages: str, path: str) -> Part:
    def make(image: Image) -> None:
        headers = [rpmdb.header(*package.split()) for package in packages]
        scratch = Path(f"{image.root}.sqlite")
        if kind == "sqlite":
            image.file(path, rpmdb.sqlite(scratch, headers), 0o644)
            scratch.unlink()
        else:
            image.file(path, {"ndb": rpmdb.ndb, "bdb": rpmdb.bdb}[kind](headers), 0o644)

    return make


DEBIAN = release("debian", "12", "Debian GNU/Linux 12 (bookworm)")
DEBIAN_OS = OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)")
SLIM = ("bash 5.2.15-2+b2", "perl-base 5.36.0-7+deb12u1", "gcc-12-base 12.2.0-14", "libc6 2.36-9+deb12u7")
BUILDPACK = (
    *SLIM,
    "curl 7.88.1-10+deb12u5",
    "gcc 4:12.2.0-3",
    "gcc-12 12.2.0-14",
    "git 1:2.39.2-1.1",
    "make 4.3-4.1",
    "python3 3.11.2-1+b1",
    "python3.11 3.11.2-6",
    "python3.11-minimal 3.11.2-6",
    "wget 1.21.3-1+b2",
    "default-libmysqlclient-dev 1.1.0",
)
IN_SLIM = "perl 5.36.0, bash 5.2.15"
IN_BUILDPACK = f"{IN_SLIM}, python 3.11.2, git 2.39.2, gcc 12.2.0, make 4.3, curl 7.88.1, wget 1.21.3"
ALPINE = release("alpine", "3.20.1", "Alpine Linux v3.20")
ALPINE_OS = OperatingSystem("alpine", "3.20.1", "Alpine Linux v3.20")
FEDORA = release("fedora", "40", "Fedora Linux 40 (Container Image)")
FEDORA_OS = OperatingSystem("fedora", "40", "Fedora Linux 40 (Container Image)")
VAR_RPM = "/var/lib/rpm"

PYTHON = (
    programs("/usr/local/bin/python3.12", "/usr/local/bin/pip"),
    link("/usr/local/bin/python3", "python3.12"),
    text(
        "/usr/local/include/python3.12/patchlevel.h", '#define PY_MINOR_VERSION 12\n#define PY_VERSION      "3.12.4"\n'
    ),
    text("/usr/local/lib/python3.12/site-packages/pip/__init__.py", 'from x import y\n\n__version__ = "24.0"\n'),
)
PYTHON_ENV = (f"PATH=/usr/local/bin:{LOCAL}", "PYTHON_VERSION=3.12.4", "PYTHON_PIP_VERSION=24.0")
NODE = (
    programs("/usr/local/bin/node", "/usr/local/lib/node_modules/npm/bin/npm-cli.js", "/opt/yarn-v1.22.22/bin/yarn"),
    link("/usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js"),
    link("/usr/local/bin/yarn", "/opt/yarn-v1.22.22/bin/yarn"),
    text(
        "/usr/local/include/node/node_version.h",
        "#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 15\n#define NODE_PATCH_VERSION 1\n\n"
        "#define NODE_VERSION_IS_LTS 1\n",
    ),
    text("/usr/local/lib/node_modules/npm/package.json", '{"name": "npm", "version": "10.7.0"}'),
    text("/opt/yarn-v1.22.22/package.json", '{"name": "yarn", "version": "1.22.22"}'),
)
GO = (programs("/usr/local/go/bin/go"), text("/usr/local/go/VERSION", "go1.22.4\ntime 2024-05-30T19:26:07Z\n"))
TEMURIN = (
    programs("/opt/java/openjdk/bin/java"),
    text("/opt/java/openjdk/release", 'IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="21.0.3"\nOS_NAME="Linux"\n'),
)
TOOLCHAINS = "/usr/local/rustup/toolchains"


def rustup(toolchain: str, cargo: str = "/usr/local/cargo", home: str = "/usr/local/rustup") -> tuple[Part, ...]:
    return (
        programs(f"{cargo}/bin/rustup", f"{home}/toolchains/{toolchain}/bin/rustc"),
        link(f"{cargo}/bin/rustc", "rustup"),
        text(f"{home}/settings.toml", f'version = "12"\ndefault_toolchain = "{toolchain}"\n'),
    )


PUBLISHED = (
    Case("debian slim", (DEBIAN, dpkg(*SLIM)), IN_SLIM, DEBIAN_OS),
    Case(
        "debian with build tools",
        (DEBIAN, dpkg(*BUILDPACK)),
        IN_BUILDPACK,
        DEBIAN_OS,
    ),
    Case(
        "python slim",
        (DEBIAN, dpkg(*SLIM), *PYTHON),
        "python 3.12.4, perl 5.36.0, pip 24.0, bash 5.2.15",
        DEBIAN_OS,
        PYTHON_ENV,
    ),
    Case(
        "python beside the distribution's",
        (DEBIAN, dpkg(*BUILDPACK), *PYTHON),
        "python 3.12.4, perl 5.36.0, git 2.39.2, gcc 12.2.0, make 4.3, pip 24.0, bash 5.2.15, curl 7.88.1, wget 1.21.3",
        DEBIAN_OS,
        PYTHON_ENV,
    ),
    Case(
        "python on alpine",
        (ALPINE, apk("busybox 1.36.1-r29", "musl 1.2.5-r0"), *PYTHON),
        "python 3.12.4, pip 24.0",
        ALPINE_OS,
        PYTHON_ENV,
    ),
    Case(
        "python without headers",
        (DEBIAN, dpkg(*SLIM), programs("/usr/local/bin/python3.12"), link("/usr/local/bin/python3", "python3.12")),
        f"python 3.12, {IN_SLIM}",
        DEBIAN_OS,
    ),
    Case(
        "node with npm and yarn",
        (DEBIAN, dpkg(*SLIM), *NODE),
        "node 20.15.1, perl 5.36.0, npm 10.7.0, yarn 1.22.22, bash 5.2.15",
        DEBIAN_OS,
        (f"PATH={LOCAL}", "NODE_VERSION=20.15.1", "YARN_VERSION=1.22.22"),
    ),
    Case(
        "node of NodeSource's package",
        (
            DEBIAN,
            dpkg(*SLIM, "nodejs 20.15.1-1nodesource1"),
            programs("/usr/bin/node", "/usr/lib/node_modules/npm/bin/npm-cli.js"),
            link("/usr/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js"),
            text("/usr/lib/node_modules/npm/package.json", '{"name": "npm", "version": "10.7.0"}'),
        ),
        "node 20.15.1, perl 5.36.0, npm 10.7.0, bash 5.2.15",
        DEBIAN_OS,
    ),
    Case(
        "pnpm of corepack, whose own version is not pnpm's",
        (
            *NODE,
            programs("/usr/local/lib/node_modules/corepack/dist/pnpm.js"),
            link("/usr/local/bin/pnpm", "../lib/node_modules/corepack/dist/pnpm.js"),
            text("/usr/local/lib/node_modules/corepack/package.json", '{"name": "corepack", "version": "0.28.1"}'),
        ),
        "node 20.15.1, npm 10.7.0, pnpm, yarn 1.22.22",
    ),
    Case(
        "pnpm of npm",
        (
            *NODE,
            programs("/usr/local/lib/node_modules/pnpm/bin/pnpm.cjs"),
            link("/usr/local/bin/pnpm", "../lib/node_modules/pnpm/bin/pnpm.cjs"),
            text("/usr/local/lib/node_modules/pnpm/package.json", '{"name": "pnpm", "version": "9.4.0"}'),
        ),
        "node 20.15.1, npm 10.7.0, pnpm 9.4.0, yarn 1.22.22",
    ),
    Case(
        "go",
        (DEBIAN, dpkg(*BUILDPACK), *GO),
        "go 1.22.4, " + IN_BUILDPACK,
        DEBIAN_OS,
        (f"PATH=/go/bin:/usr/local/go/bin:{LOCAL}", "GOLANG_VERSION=1.22.4"),
    ),
    Case("go that is not on the path", GO, "go 1.22.4"),
    Case(
        "ruby",
        (
            DEBIAN,
            dpkg(*SLIM),
            programs("/usr/local/bin/ruby"),
            text(
                "/usr/local/lib/pkgconfig/ruby-3.3.pc",
                "MAJOR=3\nMINOR=3\nTEENY=3\nruby_version=3.3.0\nRUBY_PROGRAM_VERSION=3.3.3\n",
            ),
        ),
        f"ruby 3.3.3, {IN_SLIM}",
        DEBIAN_OS,
    ),
    Case(
        "php",
        (
            DEBIAN,
            dpkg(*SLIM),
            programs("/usr/local/bin/php"),
            text(
                "/usr/local/include/php/main/php_version.h",
                '#define PHP_EXTRA_VERSION ""\n#define PHP_VERSION "8.3.9"\n',
            ),
        ),
        f"php 8.3.9, {IN_SLIM}",
        DEBIAN_OS,
        (f"PATH={LOCAL}", "PHP_VERSION=8.3.9"),
    ),
    Case(
        "rust by the name of its toolchain",
        (DEBIAN, dpkg(*SLIM), *rustup("1.79.0-x86_64-unknown-linux-gnu")),
        f"rust 1.79.0, {IN_SLIM}",
        DEBIAN_OS,
        (f"PATH=/usr/local/cargo/bin:{LOCAL}", "RUSTUP_HOME=/usr/local/rustup"),
    ),
    Case(
        "rust by the manifest of its toolchain",
        (
            *rustup("stable-x86_64-unknown-linux-gnu"),
            text(
                f"{TOOLCHAINS}/stable-x86_64-unknown-linux-gnu/lib/rustlib/multirust-channel-manifest.toml",
                '[pkg.cargo]\nversion = "0.80.0 (376290515 2024-07-16)"\n\n'
                '[pkg.rustc]\nversion = "1.80.0 (051478957 2024-07-21)"\n',
            ),
        ),
        "rust 1.80.0",
    ),
    Case(
        "rust of root's own",
        rustup("1.79.0-x86_64-unknown-linux-gnu", "/root/.cargo", "/root/.rustup"),
        "rust 1.79.0",
        env=(f"PATH=/root/.cargo/bin:{LOCAL}",),
    ),
    Case(
        "two of one runtime, of which the first on the path counts",
        (
            *GO,
            programs("/opt/go/bin/go"),
            text("/opt/go/VERSION", "go1.21.0\n"),
        ),
        "go 1.21.0",
        env=(f"PATH=/opt/go/bin:/usr/local/go/bin:{LOCAL}",),
    ),
    Case(
        "temurin on ubuntu",
        (
            release("ubuntu", "22.04", "Ubuntu 22.04.4 LTS"),
            dpkg(
                "bash 5.1-6ubuntu1.1",
                "curl 7.81.0-1ubuntu1.16",
                "wget 1.21.2-2ubuntu1.1",
                "perl-base 5.34.0-3ubuntu1.3",
            ),
            *TEMURIN,
        ),
        "java 21.0.3, perl 5.34.0, bash 5.1, curl 7.81.0, wget 1.21.2",
        OperatingSystem("ubuntu", "22.04", "Ubuntu 22.04.4 LTS"),
        (f"PATH=/opt/java/openjdk/bin:{LOCAL}", "JAVA_HOME=/opt/java/openjdk", "JAVA_VERSION=jdk-21.0.3+9"),
    ),
    Case(
        "java of a package",
        (DEBIAN, dpkg(*SLIM, "openjdk-17-jre-headless 17.0.11+9-1~deb12u1", "default-jre-headless 2:1.17-74")),
        f"java 17.0.11+9, {IN_SLIM}",
        DEBIAN_OS,
    ),
    Case(
        "java of no package and on no path",
        (
            programs("/usr/lib/jvm/graalvm-22/bin/java"),
            text("/usr/lib/jvm/graalvm-22/release", 'JAVA_VERSION="22.0.1"\n'),
        ),
        "java 22.0.1",
    ),
    Case(
        "java without a release file",
        (programs("/opt/jdk/bin/java"),),
        "java 11.0.2",
        env=("JAVA_HOME=/opt/jdk/", "JAVA_VERSION=11.0.2"),
    ),
    Case(
        "maven",
        (
            *TEMURIN,
            programs("/usr/share/maven/bin/mvn"),
            link("/usr/bin/mvn", "/usr/share/maven/bin/mvn"),
            text("/usr/share/maven/lib/maven-core-3.9.8.jar", ""),
        ),
        "java 21.0.3, maven 3.9.8",
        env=(f"PATH=/opt/java/openjdk/bin:{LOCAL}", "MAVEN_HOME=/usr/share/maven"),
    ),
    Case(
        "gradle",
        (*TEMURIN, programs("/opt/gradle/bin/gradle"), text("/opt/gradle/lib/gradle-core-api-8.8.jar", "")),
        "java 21.0.3, gradle 8.8",
        env=(f"PATH={LOCAL}", "GRADLE_VERSION=8.8"),
    ),
    Case(
        "dotnet",
        (
            DEBIAN,
            dpkg(*SLIM),
            programs("/usr/share/dotnet/dotnet"),
            link("/usr/bin/dotnet", "/usr/share/dotnet/dotnet"),
            folder("/usr/share/dotnet/sdk/8.0.302"),
            folder("/usr/share/dotnet/sdk/NuGetFallbackFolder"),
            folder("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.6"),
        ),
        f"dotnet 8.0.302, {IN_SLIM}",
        DEBIAN_OS,
    ),
    Case(
        "alpine with packages",
        (
            ALPINE,
            apk(
                "busybox 1.36.1-r29",
                "nodejs 20.15.1-r0",
                "npm 10.8.0-r0",
                "python3 3.12.3-r1",
                "py3-pip 24.0-r2",
                "git 2.45.2-r0",
                "postgresql16-client 16.3-r0",
                "openjdk17-jre-headless 17.0.11_p9-r0",
                "docker-cli 26.1.3-r1",
                "go 1.22.5-r0",
            ),
        ),
        "python 3.12.3, node 20.15.1, go 1.22.5, java 17.0.11_p9, git 2.45.2, pip 24.0, npm 10.8.0, psql 16.3, "
        "docker 26.1.3",
        ALPINE_OS,
    ),
    Case(
        "a newer alpine",
        (release("alpine", "3.23.0", "Alpine Linux v3.23"), apk("jq 1.8.1-r0", path="/usr/lib/apk/db/installed")),
        "jq 1.8.1",
        OperatingSystem("alpine", "3.23.0", "Alpine Linux v3.23"),
    ),
    Case(
        "wolfi",
        (
            release("wolfi", "20230201", "Wolfi"),
            apk("python-3.12 3.12.4-r1", "nodejs-22 22.4.1-r0", "bash 5.2.21-r5", path="/usr/lib/apk/db/installed"),
        ),
        "python 3.12.4, node 22.4.1, bash 5.2.21",
        OperatingSystem("wolfi", "20230201", "Wolfi"),
    ),
    Case(
        "fedora",
        (
            FEDORA,
            rpm(
                "sqlite",
                "bash 5.2.26",
                "python3 3.12.3",
                "perl-interpreter 5.38.2",
                "nodejs20 20.12.2",
                "nodejs-npm 10.5.0",
                "golang-bin 1.22.3",
                path="/usr/lib/sysimage/rpm/rpmdb.sqlite",
            ),
        ),
        "python 3.12.3, node 20.12.2, go 1.22.3, perl 5.38.2, npm 10.5.0, bash 5.2.26",
        FEDORA_OS,
    ),
    Case(
        "ubi 8",
        (
            release("rhel", "8.10", "Red Hat Enterprise Linux 8.10 (Ootpa)"),
            rpm(
                "bdb",
                "bash 4.4.20",
                "platform-python 3.6.8",
                "python39 3.9.18",
                "curl 7.61.1",
                path=f"{VAR_RPM}/Packages",
            ),
        ),
        "python 3.9.18, bash 4.4.20, curl 7.61.1",
        OperatingSystem("rhel", "8.10", "Red Hat Enterprise Linux 8.10 (Ootpa)"),
    ),
    Case(
        "rocky 9",
        (
            release("rocky", "9.4", "Rocky Linux 9.4 (Blue Onyx)"),
            rpm(
                "sqlite",
                "bash 5.1.8",
                "curl-minimal 7.76.1",
                "java-17-openjdk-headless 17.0.11.0.9",
                "git-core 2.43.5",
                "mariadb 10.5.22",
                path=f"{VAR_RPM}/rpmdb.sqlite",
            ),
        ),
        "java 17.0.11.0.9, git 2.43.5, bash 5.1.8, curl 7.76.1, mysql 10.5.22",
        OperatingSystem("rocky", "9.4", "Rocky Linux 9.4 (Blue Onyx)"),
    ),
    Case(
        "opensuse leap",
        (
            release("opensuse-leap", "15.6", "openSUSE Leap 15.6"),
            rpm(
                "ndb",
                "bash 4.4",
                "perl-base 5.26.1",
                "go1.22 1.22.4",
                "postgresql16 16.2",
                path="/usr/lib/sysimage/rpm/Packages.db",
            ),
        ),
        "go 1.22.4, perl 5.26.1, bash 4.4, psql 16.2",
        OperatingSystem("opensuse-leap", "15.6", "openSUSE Leap 15.6"),
    ),
    Case(
        "amazon linux with corretto",
        (
            release("amzn", "2023", "Amazon Linux 2023"),
            rpm(
                "sqlite",
                "bash 5.2.15",
                "java-21-amazon-corretto-headless 21.0.3",
                "redis6 6.2.14",
                path=f"{VAR_RPM}/rpmdb.sqlite",
            ),
        ),
        "java 21.0.3, bash 5.2.15, redis-cli 6.2.14",
        OperatingSystem("amzn", "2023", "Amazon Linux 2023"),
    ),
    Case(
        "distroless python",
        (DEBIAN, distroless("base-files 12.4", "python3.11-minimal 3.11.2-6", "libpython3.11-stdlib 3.11.2-6")),
        "python 3.11.2",
        DEBIAN_OS,
    ),
    Case("distroless static", (DEBIAN, distroless("base-files 12.4", "tzdata 2024a-0+deb12u1")), "", DEBIAN_OS),
    Case(
        "busybox",
        (programs("/bin/busybox"), link("/bin/wget", "busybox"), link("/bin/sh", "busybox")),
        "",
    ),
    Case("a program on nothing", (programs("/app"),), ""),
    Case("tools copied onto nothing", (programs("/usr/bin/git", "/bin/bash"),), "git, bash"),
    Case(
        "miniconda",
        (
            DEBIAN,
            dpkg(*SLIM),
            programs("/opt/conda/bin/python3.11", "/opt/conda/bin/pip"),
            link("/opt/conda/bin/python3", "python3.11"),
            text("/opt/conda/include/python3.11/patchlevel.h", '#define PY_VERSION "3.11.9"\n'),
            text("/opt/conda/lib/python3.11/site-packages/pip/__init__.py", '__version__ = "23.3.1"\n'),
        ),
        "python 3.11.9, perl 5.36.0, pip 23.3.1, bash 5.2.15",
        DEBIAN_OS,
        (f"PATH=/opt/conda/bin:{LOCAL}",),
    ),
    Case(
        "a virtual environment of the distribution's python",
        (
            DEBIAN,
            dpkg(*SLIM, "python3 3.11.2-1+b1"),
            programs("/usr/bin/python3.11"),
            link("/usr/bin/python3", "python3.11"),
            link("/opt/venv/bin/python3", "/usr/bin/python3"),
        ),
        "python 3.11.2, perl 5.36.0, bash 5.2.15",
        DEBIAN_OS,
        (f"PATH=/opt/venv/bin:{LOCAL}",),
    ),
    Case(
        "uv by pip",
        (*PYTHON, programs("/usr/local/bin/uv"), folder("/usr/local/lib/python3.12/site-packages/uv-0.2.27.dist-info")),
        "python 3.12.4, pip 24.0, uv 0.2.27",
    ),
    Case(
        "uv copied",
        (DEBIAN, dpkg(*SLIM), programs("/bin/uv")),
        f"uv 0.2.27, {IN_SLIM}",
        DEBIAN_OS,
        ("UV_VERSION=0.2.27",),
    ),
    Case(
        "deno",
        (DEBIAN, dpkg(*SLIM), programs("/usr/bin/deno")),
        f"deno 1.45.2, {IN_SLIM}",
        DEBIAN_OS,
        ("DENO_VERSION=1.45.2",),
    ),
    Case("bun", (DEBIAN, dpkg(*SLIM), programs("/usr/local/bin/bun")), f"bun, {IN_SLIM}", DEBIAN_OS),
    Case(
        "docker",
        (ALPINE, apk("musl 1.2.5-r0"), programs("/usr/local/bin/docker")),
        "docker 27.0.3",
        ALPINE_OS,
        ("DOCKER_VERSION=27.0.3",),
    ),
    Case(
        "docker of a package",
        (DEBIAN, dpkg(*SLIM, "docker-ce-cli 5:27.0.3-1~debian.12~bookworm", "kubectl 1.30.2-1.1", "terraform 1.9.2-1")),
        f"{IN_SLIM}, docker 27.0.3, kubectl 1.30.2, terraform 1.9.2",
        DEBIAN_OS,
    ),
    Case(
        "databases' clients",
        (
            DEBIAN,
            dpkg(
                *SLIM,
                "postgresql-client-15 15.7-0+deb12u1",
                "postgresql-client-common 248",
                "redis-tools 5:7.0.15-1~deb12u1",
                "mariadb-client 1:10.11.6-0+deb12u1",
                "jq 1.6-2.1",
            ),
        ),
        f"{IN_SLIM}, jq 1.6, psql 15.7, mysql 10.11.6, redis-cli 7.0.15",
        DEBIAN_OS,
    ),
    Case(
        "ruby and php of packages",
        (
            DEBIAN,
            dpkg(
                *SLIM,
                "ruby 1:3.1",
                "ruby3.1 3.1.2-7",
                "php8.2-cli 8.2.20-1~deb12u1",
                "php-common 2:93",
                "cmake 3.25.1-1",
                "maven 3.8.7-1",
            ),
        ),
        "ruby 3.1.2, php 8.2.20, perl 5.36.0, cmake 3.25.1, maven 3.8.7, bash 5.2.15",
        DEBIAN_OS,
    ),
)
