"""Decides whether the Claude CLI can run in an image, and explains why not.

Here: the two sides of the comparison, `ImageFacts` (what the image has) and `CLINeeds` (what the CLI binary
needs), and the verdict. Not here: how either is determined (`inspection/`). No name, tag, label or
os-release takes part: an image is judged by the files that the kernel and the dynamic loader would open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]

# The product's promise: images with glibc 2.17 (2012) or newer. A CLI that states no requirement needs this.
GLIBC_FLOOR: Version = (2, 17)


class Libc(StrEnum):
    """The C library that an image's programs are linked with."""

    GLIBC = "glibc"
    MUSL = "musl"
    STATIC = "static"  # its programs contain their own
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CLINeeds:
    """What the CLI's ELF headers require of an image.

    `architecture` is OCI's name (`amd64`), empty for a CLI that is no ELF file. `libraries` pairs each
    DT_NEEDED with the symbol versions wanted of it.
    """

    architecture: str = ""
    interpreter: str | None = None
    libraries: tuple[tuple[str, tuple[str, ...]], ...] = ()
    glibc: Version = GLIBC_FLOOR


@dataclass(frozen=True, slots=True)
class ImageUser:
    """Who an image's processes run as. `home` is what its passwd says, None where that has no such user; `groups` are
    the supplementary ones.
    """

    uid: int
    gid: int
    home: str | None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What was seen in an image. Paths are inside it; those of programs and libraries are where links end.

    `libc_path` is the file that the libc was told from (for a static image: one of its programs).
    `interpreter` is glibc's loader as the CLI would find it, None if that is not there or is not glibc's.
    `loader_problem` says what is at the loader's place where a glibc is there and its loader is not.
    `missing_versions` are `library VERSION`, wanted by the CLI and not defined by the library.
    `user` is None if the image's user cannot be resolved; `user_problem` then says why. `unstartable` says what is
    wrong with the files that Podman itself reads before a start; nothing else was looked at then. `configuration` is
    what the user has for the CLI in the image (see inspection/configuration.py), `managed` what the image has in
    /etc/claude-code, and `configuration_problem` what is wrong with them.
    """

    architecture: str = ""
    libc: Libc = Libc.UNKNOWN
    libc_version: str = ""
    libc_path: str | None = None
    interpreter: str | None = None
    missing_libraries: tuple[str, ...] = ()
    missing_versions: tuple[str, ...] = ()
    shell: str | None = None
    claude: str | None = None
    user: ImageUser | None = None
    user_problem: str = ""
    unstartable: str = ""
    loader_problem: str = ""
    configuration: str = ""
    managed: str = ""
    configuration_problem: str = ""

    @property
    def has_shell(self) -> bool:
        """Whether hooks can run: there is an executable `/bin/sh`."""
        return self.shell is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`message` is one sentence for users: what was found and, if not `ok`, what would work."""

    ok: bool
    message: str


def judge(facts: ImageFacts, needs: CLINeeds) -> Verdict:
    """Whether the mounted CLI can run in the image; the message is that of the first check that fails."""
    for check in _CHECKS:
        if problem := check(facts, needs):
            return Verdict(False, problem)
    return Verdict(True, f"{_name(facts)} for {facts.architecture or 'this machine'}; {_wanted(needs)}")


def judge_own_cli(facts: ImageFacts) -> Verdict:
    """Whether an image can run without a mounted CLI: it must contain one, and its libc does not matter."""
    for check in (_unstartable, _user, _configuration):
        if problem := check(facts, CLINeeds()):
            return Verdict(False, problem)
    if facts.claude is None:
        return Verdict(
            False,
            "the image has no `claude` on its PATH, and none is mounted (`cli.mount: false`); "
            "use an image that brings one, or let the CLI be mounted",
        )
    return Verdict(True, f"the image brings its own CLI ({facts.claude})")


def version_of(symbol_version: str) -> Version | None:
    """The number in a glibc symbol version: `GLIBC_2.2.5` is (2, 2, 5), `GLIBC_PRIVATE` is None."""
    if match := re.fullmatch(r"GLIBC_([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})", symbol_version):
        return _numbers(match[1])
    return None


def text_of(version: Version) -> str:
    """(2, 17) is `2.17`."""
    return ".".join(str(part) for part in version)


def _configuration(facts: ImageFacts, needs: CLINeeds) -> str:
    return facts.configuration_problem


def _unstartable(facts: ImageFacts, needs: CLINeeds) -> str:
    if not facts.unstartable:
        return ""
    return (
        f"{facts.unstartable}, and Podman reads that before it starts a container; use an image in which it is a "
        "regular file, or absent"
    )


def _cli_build(facts: ImageFacts, needs: CLINeeds) -> str:
    if needs.interpreter and "/ld-musl" in needs.interpreter:
        return (
            f"the configured CLI is itself built for musl ({needs.interpreter}); "
            "set the CLI image to the glibc build of Claude Code"
        )
    return ""


def _architecture(facts: ImageFacts, needs: CLINeeds) -> str:
    if not needs.architecture or not facts.architecture or facts.architecture == needs.architecture:
        return ""
    return (
        f"the image is for {facts.architecture} ({facts.libc_path}); the Claude CLI on this machine is for "
        f"{needs.architecture}; use the {needs.architecture} variant of the image"
    )


def _family(facts: ImageFacts, needs: CLINeeds) -> str:
    advice = {
        Libc.MUSL: "use the Debian-based tag",
        Libc.STATIC: "use an image with glibc, such as a Debian-based one",
        Libc.UNKNOWN: "use an image with glibc, such as a Debian-based one",
    }
    if facts.libc is Libc.GLIBC:
        return ""
    return f"{_name(facts)}; {_wanted(needs)}; {advice[facts.libc]}"


def _loader(facts: ImageFacts, needs: CLINeeds) -> str:
    if facts.loader_problem:
        return (
            f"{_name(facts)}, but its loader {facts.loader_problem}; use an image with the whole of glibc (Debian's "
            "libc6), such as a Debian-based one"
        )
    if facts.interpreter or needs.interpreter is None:
        return ""
    return (
        f"{_name(facts)}, but its loader is not at {needs.interpreter}, the path that is written in the "
        "Claude CLI; put a link to it there, or use a Debian-based image"
    )


def _glibc_version(facts: ImageFacts, needs: CLINeeds) -> str:
    if not facts.libc_version or _numbers(facts.libc_version) >= needs.glibc:
        return ""
    return f"{_name(facts)}; {_wanted(needs)}; use a newer release of the image"


def _libraries(facts: ImageFacts, needs: CLINeeds) -> str:
    if not facts.missing_libraries:
        return ""
    return (
        f"{_name(facts)} without {', '.join(facts.missing_libraries)}, which the Claude CLI loads; "
        "use an image with the whole of glibc (Debian's libc6), such as a Debian-based one"
    )


def _symbol_versions(facts: ImageFacts, needs: CLINeeds) -> str:
    if not facts.missing_versions:
        return ""
    return (
        f"{_name(facts)} does not offer {', '.join(facts.missing_versions)}, which the Claude CLI needs; "
        "use a newer release of the image"
    )


def _user(facts: ImageFacts, needs: CLINeeds) -> str:
    return facts.user_problem


# In the order in which they would stop the CLI from starting; later checks may rely on earlier ones.
_CHECKS = (
    _unstartable,
    _cli_build,
    _architecture,
    _family,
    _loader,
    _glibc_version,
    _libraries,
    _symbol_versions,
    _user,
    _configuration,
)


def _name(facts: ImageFacts) -> str:
    """What was found, as `musl 1.2.3 (/lib/ld-musl-x86_64.so.1)`."""
    if facts.libc is Libc.UNKNOWN:
        return "no C library and no program that could name one were found"
    if facts.libc is Libc.STATIC:
        return f"no C library was found ({facts.libc_path} is statically linked)"
    version = f" {facts.libc_version}" if facts.libc_version else ""
    return f"{facts.libc}{version} ({facts.libc_path})"


def _wanted(needs: CLINeeds) -> str:
    return f"the Claude CLI needs glibc {text_of(needs.glibc)} or newer"


def _numbers(version: str) -> Version:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))
