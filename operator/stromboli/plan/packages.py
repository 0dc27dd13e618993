"""Which package of which distribution is which tool, and what a package's version says about the tool's. Pure.

Only a package that brings the command of that name counts: `gcc-12-base` is on every Debian and no compiler, and
`gcc-12` alone brings `gcc-12`, which no build asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from stromboli.plan.contents import Evidence, Source


class Database(StrEnum):
    """The kinds of package databases."""

    DPKG = "dpkg"
    APK = "apk"
    RPM = "rpm"


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package, with the version as its database has it."""

    name: str
    version: str


# By a package's name, in which each number has become `#`. Of two packages of one tool, the one whose version is the
# tool's own has weight 1: Debian's `ruby` is a package 1:3.1 that depends on `ruby3.1`, which has the patch level.
_Names = dict[str, tuple[str, int]]

_SAME: _Names = {
    name: (name, 0)
    for name in ("bash", "curl", "git", "jq", "make", "cmake", "wget", "maven", "gradle", "npm", "pnpm", "uv", "deno")
} | {
    "gcc": ("gcc", 0),
    "perl": ("perl", 0),
    "yarn": ("yarn", 0),
    "nodejs": ("node", 0),
    "terraform": ("terraform", 0),
    "kubectl": ("kubectl", 0),
    "docker-cli": ("docker", 0),
    "docker-ce-cli": ("docker", 0),
    "ruby": ("ruby", 0),
    "dotnet-sdk-#": ("dotnet", 1),
    "dotnet-runtime-#": ("dotnet", 0),
    "temurin-#-jdk": ("java", 0),
    "temurin-#-jre": ("java", 0),
    "msopenjdk-#": ("java", 0),
    "zulu#-jdk-headless": ("java", 0),
    "zulu#-jre-headless": ("java", 0),
    "java-#-amazon-corretto-jdk": ("java", 0),
    "mysql-community-client": ("mysql", 0),
    "mariadb-client": ("mysql", 0),
}
_BY_DATABASE: dict[Database, _Names] = {
    Database.DPKG: _SAME
    | {
        "python#": ("python", 0),
        "python#-minimal": ("python", 0),
        "python#-pip": ("pip", 0),
        "golang-go": ("go", 0),
        "openjdk-#-jre-headless": ("java", 0),
        "openjdk-#-jdk-headless": ("java", 0),
        "ruby#": ("ruby", 1),
        "php#-cli": ("php", 0),
        "rustc": ("rust", 0),
        "perl-base": ("perl", 0),
        "postgresql-client-#": ("psql", 0),
        "mariadb-client-core": ("mysql", 0),
        "mariadb-client-core-#": ("mysql", 0),
        "mysql-client-core-#": ("mysql", 0),
        "mysql-community-client-core": ("mysql", 0),
        "redis-tools": ("redis-cli", 0),
        "valkey-tools": ("redis-cli", 0),
        "docker.io": ("docker", 0),
        "kubernetes-client": ("kubectl", 0),
    },
    Database.APK: _SAME
    | {
        "python#": ("python", 0),
        "python-#": ("python", 0),
        "python-#-base": ("python", 0),
        "py#-pip": ("pip", 0),
        "nodejs-current": ("node", 0),
        "nodejs-#": ("node", 0),
        "go": ("go", 0),
        "go-#": ("go", 0),
        "openjdk#-jre-headless": ("java", 0),
        "openjdk-#-jre": ("java", 0),
        "openjdk-#-jre-base": ("java", 0),
        "ruby-#": ("ruby", 0),
        "php#": ("php", 0),
        "php-#": ("php", 0),
        "rust": ("rust", 0),
        "bun": ("bun", 0),
        "maven-#": ("maven", 0),
        "gradle-#": ("gradle", 0),
        "postgresql#-client": ("psql", 0),
        "postgresql-#-client": ("psql", 0),
        "mysql-client": ("mysql", 0),
        "redis": ("redis-cli", 0),
        "valkey-cli": ("redis-cli", 0),
        "dotnet#-sdk": ("dotnet", 1),
        "dotnet#-runtime": ("dotnet", 0),
    },
    Database.RPM: _SAME
    | {
        "python#": ("python", 0),
        "python#-base": ("python", 0),
        "python#-pip": ("pip", 0),
        "nodejs#": ("node", 0),
        "nodejs-npm": ("npm", 0),
        "npm#": ("npm", 0),
        "golang": ("go", 0),
        "golang-bin": ("go", 0),
        "go": ("go", 0),
        "go#": ("go", 0),
        "java-#-openjdk-headless": ("java", 0),
        "java-#-amazon-corretto-headless": ("java", 0),
        "java-#-amazon-corretto": ("java", 0),
        "php-cli": ("php", 0),
        "php#-cli": ("php", 0),
        "rust": ("rust", 0),
        "perl-interpreter": ("perl", 0),
        "perl-base": ("perl", 0),
        "git-core": ("git", 0),
        "curl-minimal": ("curl", 0),
        "wget#-wget": ("wget", 0),
        "postgresql": ("psql", 0),
        "postgresql#": ("psql", 0),
        "mariadb": ("mysql", 0),
        "mariadb#": ("mysql", 0),
        "mysql": ("mysql", 0),
        "mysql#": ("mysql", 0),
        "redis": ("redis-cli", 0),
        "redis#": ("redis-cli", 0),
        "valkey": ("redis-cli", 0),
        "docker": ("docker", 0),
        "moby-engine": ("docker", 0),
        "kubernetes-client": ("kubectl", 0),
        "kubernetes#-client": ("kubectl", 0),
    },
}
# Python 2 and its package manager have the same shape of name.
_NOT_MEANT = re.compile(r"python2(\..*|-.*)?")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)*")

_APK_SYSTEMS = frozenset({"alpine", "wolfi", "chainguard"})
_RPM_SYSTEMS = re.compile(r"(fedora|rhel|centos|rocky|almalinux|ol|amzn|opensuse|sle|suse|mariner|azurelinux|photon)")

_KUBERNETES = re.compile(r"[1-9]\.")  # Google's package of kubectl has the version of its whole SDK instead

_EPOCH = re.compile(r"^[0-9]+:")
# What Debian adds to an upstream version: what was removed from the source, or a repacked or backported one.
_REPACKED = re.compile(r"[+~.](dfsg|ds[0-9]*$|ds[0-9]*[+~]|repack).*$")
_REALLY = re.compile(r"^.*\+really")  # what follows is the true one
_TILDE = re.compile(r"~[0-9].*$")


def likely_order(system: str) -> tuple[Database, ...]:
    """In which order to look for databases in an image whose os-release has that ID: all of them, the likely one first.

    What is found decides, so an ID that is new or untrue costs a look at a file that is not there.
    """
    if system in _APK_SYSTEMS:
        return Database.APK, Database.DPKG, Database.RPM
    if _RPM_SYSTEMS.match(system):
        return Database.RPM, Database.DPKG, Database.APK
    return Database.DPKG, Database.APK, Database.RPM


def evidence_of(database: Database, package: Package) -> Evidence | None:
    """What an installed package says about a tool; None if it is none of the tools."""
    names = _BY_DATABASE[database]
    found = names.get(package.name) or names.get(_NUMBER.sub("#", package.name))
    if found is None or _NOT_MEANT.fullmatch(package.name):
        return None
    tool, weight = found
    version = upstream(database, package.version)
    if tool == "kubectl" and not _KUBERNETES.match(version):
        version = ""
    return Evidence(tool, version, Source.PACKAGE, weight)


def upstream(database: Database, version: str) -> str:
    """The version that the tool itself would state: without the epoch, and the distribution's own revision."""
    version = _EPOCH.sub("", version)
    match database:
        case Database.DPKG:
            version = version.rpartition("-")[0] or version
            return _TILDE.sub("", _REPACKED.sub("", _REALLY.sub("", version)))
        case Database.APK:
            return re.sub(r"-r[0-9]+$", "", version)
        case Database.RPM:
            return version  # its database has the revision in a field of its own
