"""The version of a program by the files of its own installation: headers, release files, package files.

Each function is for one tool and gives the version, or "" if no such file is there. Only constants that the tool's own
installation writes are read, each by a pattern of its own, from a file of bounded size.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname

from stromboli import bounds
from stromboli.inspection.contents import variables
from stromboli.inspection.contents.commands import Command
from stromboli.inspection.opener import Opener, executable
from stromboli.plan.contents import version_of

_LIMIT = 256 * 1024  # bytes of such a file
_MANIFEST = 4 * 1024 * 1024  # rustup's, which has all components of a release
_V = r"[0-9][0-9A-Za-z.+_-]{0,63}"

_PYTHON = re.compile(r"python(3\.[0-9]{1,2})")
_PATCHLEVEL = re.compile(rf'^#define\s+PY_VERSION\s+"({_V})"', re.MULTILINE)
_PIP = re.compile(rf"""^__version__ = ["']({_V})["']""", re.MULTILINE)
_NODE = re.compile(r"^#define NODE_(?:MAJOR|MINOR|PATCH)_VERSION ([0-9]{1,4})$", re.MULTILINE)
_GO = re.compile(rf"\Ago({_V})\s")
_JAVA = re.compile(rf'^JAVA_VERSION="({_V})"', re.MULTILINE)
_RUBY = re.compile(rf"^RUBY_PROGRAM_VERSION=({_V})$", re.MULTILINE)
_PHP = re.compile(rf'^#define PHP_VERSION "({_V})"', re.MULTILINE)
_TOOLCHAIN = re.compile(r'^default_toolchain = "([0-9A-Za-z._-]{1,100})"$', re.MULTILINE)
_RUSTC = re.compile(rf'^\[pkg\.rustc\]\nversion = "({_V})', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Around:
    """What else is known of the image: its environment, and the other programs."""

    environ: Mapping[str, str]
    programs: Collection[Command]

    def site_packages(self, command: Command) -> str | None:
        """Those of the Python in the same installation as the command; None if there is none."""
        for other in self.programs:
            match = _PYTHON.fullmatch(basename(other.path)) if other.name == "python3" else None
            if match is not None and (prefix := _common(command.prefixes, other.prefixes)) is not None:
                return f"{prefix}/lib/{match[0]}/site-packages"
        return None


Version = Callable[[Opener, Command, Around], Awaitable[str]]


async def python(opener: Opener, command: Command, _around: Around) -> str:
    """`python3` is a link to `python3.N`, which alone tells the minor version if there are no headers."""
    match = _PYTHON.fullmatch(basename(command.path))
    if match is None:
        return ""
    paths = (f"{prefix}/include/{match[0]}/patchlevel.h" for prefix in command.prefixes)
    return (await _first(opener, paths, _PATCHLEVEL)).rstrip("+") or match[1]


async def node(opener: Opener, command: Command, _around: Around) -> str:
    for prefix in command.prefixes:
        parts = _NODE.findall(await _text(opener, f"{prefix}/include/node/node_version.h"))
        if len(parts) == 3:
            return ".".join(parts)
    return ""


async def go(opener: Opener, command: Command, _around: Around) -> str:
    return await _first(opener, (f"{prefix}/VERSION" for prefix in command.prefixes), _GO)


async def java(opener: Opener, command: Command, _around: Around) -> str:
    return await _first(opener, (f"{prefix}/release" for prefix in command.prefixes), _JAVA)


async def ruby(opener: Opener, command: Command, _around: Around) -> str:
    for prefix in command.prefixes:
        files = await opener.files(f"{prefix}/lib/pkgconfig", _LIMIT)
        for name in sorted(files, reverse=True):
            if name.startswith("ruby") and (match := _RUBY.search(files[name].decode("utf-8", "replace"))):
                return match[1]
    return ""


async def php(opener: Opener, command: Command, _around: Around) -> str:
    return await _first(opener, (f"{prefix}/include/php/main/php_version.h" for prefix in command.prefixes), _PHP)


async def rust(opener: Opener, command: Command, around: Around) -> str:
    """rustup's default toolchain, which has a version for its name, or else a manifest with the version."""
    beside = f"{dirname(command.prefixes[0])}/{basename(command.prefixes[0]).replace('cargo', 'rustup')}"
    home = variables.absolute(around.environ.get("RUSTUP_HOME", "")) or beside
    match = _TOOLCHAIN.search(await _text(opener, f"{home}/settings.toml"))
    if match is None or not await executable(opener, f"{home}/toolchains/{match[1]}/bin/rustc"):
        return ""
    named = re.match(r"([0-9]+\.[0-9]+\.[0-9]+)-", match[1])
    if named is not None:
        return named[1]
    manifest = f"{home}/toolchains/{match[1]}/lib/rustlib/multirust-channel-manifest.toml"
    return await _first(opener, (manifest,), _RUSTC, _MANIFEST)


async def dotnet(opener: Opener, command: Command, _around: Around) -> str:
    """The newest SDK, or the newest runtime if there is no SDK."""
    for prefix in command.prefixes:
        for folder in ("sdk", "shared/Microsoft.NETCore.App"):
            if versions := [name for name in await opener.names(f"{prefix}/{folder}") or () if version_of(name)]:
                return max(versions, key=lambda name: [int(part) for part in re.findall(r"[0-9]{1,9}", name)])
    return ""


async def pip(opener: Opener, command: Command, around: Around) -> str:
    """The module that the script `pip` runs, in the site-packages of the Python beside it."""
    packages = around.site_packages(command)
    return await _first(opener, (f"{packages}/pip/__init__.py",), _PIP) if packages is not None else ""


async def uv(opener: Opener, command: Command, around: Around) -> str:
    """If pip installed it: the version is in the name of a folder."""
    packages = around.site_packages(command)
    return _in_a_name(await opener.names(packages), rf"uv-({_V})\.dist-info") if packages is not None else ""


async def package_json(opener: Opener, command: Command, _around: Around) -> str:
    """npm, pnpm and yarn: the link leads to `bin/` in a package, whose package.json has name and version."""
    for prefix in command.prefixes:
        text = await _text(opener, f"{prefix}/package.json")
        try:
            package = bounds.json_document(text, bounds.DOCUMENT)
        except ValueError:
            continue
        if isinstance(package, dict) and package.get("name") == command.tool:
            return str(package.get("version", ""))
    return ""


async def maven(opener: Opener, command: Command, _around: Around) -> str:
    for prefix in command.prefixes:
        if found := _in_a_name(await opener.names(f"{prefix}/lib"), rf"maven-core-({_V})\.jar"):
            return found
    return ""


async def gradle(opener: Opener, command: Command, _around: Around) -> str:
    for prefix in command.prefixes:
        if found := _in_a_name(await opener.names(f"{prefix}/lib"), rf"gradle-core(?:-api)?-({_V})\.jar"):
            return found
    return ""


BY_TOOL: dict[str, Version] = {
    "python": python,
    "node": node,
    "go": go,
    "java": java,
    "ruby": ruby,
    "php": php,
    "rust": rust,
    "dotnet": dotnet,
    "pip": pip,
    "uv": uv,
    "npm": package_json,
    "pnpm": package_json,
    "yarn": package_json,
    "maven": maven,
    "gradle": gradle,
}


async def _first(opener: Opener, paths: Iterable[str], pattern: re.Pattern[str], limit: int = _LIMIT) -> str:
    """What the pattern's group matches in the first of the files in which it does."""
    for path in paths:
        if match := pattern.search(await _text(opener, path, limit)):
            return match[1]
    return ""


async def _text(opener: Opener, path: str, limit: int = _LIMIT) -> str:
    async with opener.open(path, limit) as file:
        return file.at(0, file.size).decode("utf-8", "replace") if file is not None else ""


def _common(some: Iterable[str], others: Collection[str]) -> str | None:
    return next((prefix for prefix in some if prefix in others), None)


def _in_a_name(names: Iterable[str] | None, pattern: str) -> str:
    return next((match[1] for name in sorted(names or ()) if (match := re.fullmatch(pattern, name))), "")
