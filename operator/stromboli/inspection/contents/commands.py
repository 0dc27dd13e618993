"""The programs in an image that no package brought: those in the folders of its PATH, and at the usual places.

In the system's own folders, programs are those of packages; they are looked at only if there is no package database,
or not all of it can be read, or if a variable states a version, which is how images say that they copied a program
there.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname

from stromboli.inspection.contents import variables
from stromboli.inspection.opener import Opener, executable

# Command → tool.
COMMANDS = {
    "python3": "python",
    "node": "node",
    "go": "go",
    "java": "java",
    "ruby": "ruby",
    "php": "php",
    "rustc": "rust",
    "dotnet": "dotnet",
    "bun": "bun",
    "deno": "deno",
    "perl": "perl",
    "git": "git",
    "gcc": "gcc",
    "make": "make",
    "cmake": "cmake",
    "pip": "pip",
    "uv": "uv",
    "npm": "npm",
    "pnpm": "pnpm",
    "yarn": "yarn",
    "mvn": "maven",
    "gradle": "gradle",
    "bash": "bash",
    "curl": "curl",
    "wget": "wget",
    "jq": "jq",
    "psql": "psql",
    "mysql": "mysql",
    "redis-cli": "redis-cli",
    "docker": "docker",
    "kubectl": "kubectl",
    "terraform": "terraform",
}
# Of these an image may well have one of its own beside the distribution's.
RUNTIMES = frozenset({"python3", "node", "go", "java", "ruby", "php", "rustc", "perl", "pip", "npm"})
SYSTEM = ("/usr/bin", "/bin")
# Where installations of one tool are, whether they are on the PATH or not.
_PLACES = {
    "/usr/local/go/bin": ("go",),
    "/usr/local/cargo/bin": ("rustc",),
    "/opt/java/openjdk/bin": ("java",),
    "/usr/share/maven/bin": ("mvn",),
    "/opt/gradle/bin": ("gradle",),
    "/usr/share/dotnet": ("dotnet",),
}
# What is installed in a folder of its own is not asked for by name in one whose names cannot be listed.
_ELSEWHERE = frozenset(itertools.chain(*_PLACES.values()))
_MOST_STATS = 100  # of programs: a hostile image has one of each name in each folder of its PATH, and none executable
_WORTH_LISTING = 4  # programs; over the archive API, a folder's names cost as much as so many stats
_WITHOUT = frozenset({"/usr/local/sbin", "/usr/sbin", "/sbin"})  # no tool is there
_SEVERAL_IN_ONE = frozenset({"busybox", "toybox", "coreutils"})


@dataclass(frozen=True, slots=True)
class Command:
    """A program. `folder` is where it was looked for, `path` where links lead."""

    name: str
    tool: str
    folder: str
    path: str

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The folders that its installation may be in: the one with the program, and the one with the link to it."""
        return tuple(dict.fromkeys(_above(folder) for folder in (dirname(self.path), self.folder)))


async def commands(
    opener: Opener, environ: Mapping[str, str], known: Collection[str], *, packaged: bool
) -> list[Command]:
    """The programs of COMMANDS, each where a shell would find it first.

    `known` are the tools that packages brought, `packaged` is whether all packages are known.
    """
    found: dict[str, Command] = {}
    left = _MOST_STATS
    for folder, wanted in _wanted(environ, known, packaged=packaged).items():
        names = [name for name in wanted if name not in found]
        for name in (await _likely(opener, folder, names))[:left]:
            left -= 1
            if (program := await executable(opener, f"{folder}/{name}")) is not None:
                found[name] = Command(name, COMMANDS[name], folder, program.path)
    return [
        command
        for command in found.values()
        if basename(command.path) not in _SEVERAL_IN_ONE and not (packaged and _is_a_packages(command))
    ]


def _is_a_packages(command: Command) -> bool:
    """Whether it is a link to a program of the system's, as in a virtual environment."""
    return dirname(command.path) in SYSTEM and command.folder not in SYSTEM


def _wanted(environ: Mapping[str, str], known: Collection[str], *, packaged: bool) -> dict[str, tuple[str, ...]]:
    """Which commands to look for in which folders, those of the PATH first."""
    missing = tuple(name for name, tool in COMMANDS.items() if tool not in known or name in RUNTIMES)
    stated = tuple(
        name for name in missing if COMMANDS[name] not in known and variables.version(environ, COMMANDS[name])
    )
    folders = {}
    for folder in (*variables.path(environ), "/usr/local/bin"):
        if folder not in _WITHOUT:
            narrowed = _PLACES.get(folder, missing)
            if folder in SYSTEM:  # what a package brought is there, and its version is the package's
                narrowed = tuple(name for name in narrowed if COMMANDS[name] not in known)
            folders[folder] = stated if packaged and folder in SYSTEM else narrowed
    if packaged and "node" in known and "npm" not in known:  # NodeSource's package of Node has it inside
        folders["/usr/bin"] = tuple({*folders.get("/usr/bin", ()), "npm"})
    if home := variables.absolute(environ.get("JAVA_HOME", "")):
        folders.setdefault(f"{home}/bin", ("java",))
    return folders | {folder: names for folder, names in _PLACES.items() if folder not in folders}


async def _likely(opener: Opener, folder: str, wanted: list[str]) -> list[str]:
    """Those of the wanted names that are in a folder, or may be."""
    if len(wanted) < _WORTH_LISTING:
        return wanted
    names = await opener.names(folder)
    if names is None:
        return [name for name in wanted if name not in _ELSEWHERE]
    return [name for name in wanted if name in names]


def _above(folder: str) -> str:
    return dirname(folder) if basename(folder) == "bin" else folder
