"""Builds a base image's root filesystem from Debian (or Ubuntu) packages, with apt, if no registry can be reached.

Here: which packages, how they are downloaded, and which files are added because no maintainer script runs. apt resolves
dependencies against an empty system in folders of our own: nothing is installed on the machine, and root is not needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stromboli.errors import LocalFailure
from stromboli.local.rootfs import Root
from stromboli.progress import Progress, Step

BASE_PACKAGES = (
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "libc-bin",  # getent and ldconfig
    "mawk",
    "netbase",
    "python3",
    "python3-pip",
    "sed",
    "tar",
)
_UNWANTED = re.compile(
    r"usr/share/(man|locale|info|lintian|bug|bash-completion|zoneinfo|doc-base)/"
    r"|usr/share/doc/(?!.*/copyright$)"
    r"|usr/lib/[^/]+/gconv/"
    r"|usr/lib/systemd/"
    # For PEP 668: `pip install` in a hook has to work, as it does in Docker Hub's python image.
    r"|usr/lib/python3[^/]*/EXTERNALLY-MANAGED$"
)
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP = "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"
_CERTIFICATES = "usr/share/ca-certificates/"
_HINT = "check the network and /etc/apt/sources.list (`apt-get update` shows apt's own errors), then try again"


@dataclass(frozen=True, slots=True)
class Package:
    """One archive that apt would fetch: its file name and its size in bytes."""

    filename: str
    size: int


def available(environ: Mapping[str, str]) -> bool:
    """Whether this machine has apt-get and dpkg-deb."""
    return all(shutil.which(program, path=environ.get("PATH")) for program in ("apt-get", "dpkg-deb"))


def fetch(
    names: Sequence[str], cache: Path, progress: Progress, environ: Mapping[str, str], *, closure: bool = True
) -> list[Path]:
    """Download the packages (with `closure`: and their dependencies) into the cache, except for those already there.

    Returns the archives, in apt's order. Raises LocalFailure if there is no apt, or a download fails.
    """
    if not available(environ):
        raise LocalFailure(
            "there is no apt on this machine",
            "`podman pull` an image that has Python, and name it in STROMBOLI_AGENT_IMAGE",
        )
    apt = _Apt(cache, environ)
    with progress.step("Debian packages", _HINT) as step:
        packages = apt.resolve(names, closure)
        step.measured(lambda: apt.present(packages), sum(p.size for p in packages))
        if any(not apt.holds(p) for p in packages):
            apt.download(names, closure, step)
    return [apt.archives / p.filename for p in packages]


def python_version(debs: Sequence[Path]) -> str:
    """`3.11` for Debian 12, `3.12` for Ubuntu 24.04. Raises LocalFailure if there is no Python among the archives."""
    for deb in debs:
        if found := re.match(r"python(3\.[0-9]+)-minimal_", deb.name):
            return found[1]
    raise LocalFailure("the distribution has no python3 package", "use Debian 12, Ubuntu 24.04 or newer")


def write_base(root: Root, debs: Sequence[Path]) -> None:
    """Write the whole base image: packages, users, and the links and files that maintainer scripts would create."""
    root.merged_usr()
    root.file("etc/passwd", _PASSWD.encode())
    root.file("etc/group", _GROUP.encode())
    root.directory("home/agent", owner=1000)
    for name, target in (("sh", "dash"), ("awk", "mawk"), ("python", "python3")):
        root.symlink(f"usr/bin/{name}", target)
    root.file("etc/ssl/certs/ca-certificates.crt", _certificates(debs))
    root.packages(debs, wanted)


def wanted(path: str) -> bool:
    """Whether a path of a package belongs in the image: manuals, translations and services do not, licences do."""
    return not _UNWANTED.match(path)


def _certificates(debs: Sequence[Path]) -> bytes:
    """The file that update-ca-certificates would write: all certificates of the package."""
    bundle = []
    for deb in (d for d in debs if d.name.startswith("ca-certificates_")):
        command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker:
            assert unpacker.stdout is not None
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as contents:
                for member in contents:
                    name = member.name.removeprefix("./")
                    if member.isreg() and name.startswith(_CERTIFICATES) and name.endswith(".crt"):
                        file = contents.extractfile(member)
                        bundle.append(file.read() if file else b"")
    return b"".join(bundle)


class _Apt:
    """apt-get on an empty system, with folders of its own in the cache."""

    def __init__(self, cache: Path, environ: Mapping[str, str]) -> None:
        self.archives = cache / "debs"
        self._state = cache / "apt"
        self._environ = {**environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        self._own_lists = (self._state / "lists").is_dir() or not any(Path("/var/lib/apt/lists").glob("*_Packages*"))
        for folder in (self.archives / "partial", self._state / "state"):
            folder.mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()

    def resolve(self, names: Sequence[str], closure: bool) -> list[Package]:
        """The archives that an empty system would need. Raises CalledProcessError if a name is unknown."""
        if self._own_lists and not (self._state / "lists").is_dir():
            self._update()
        # With an empty archive folder, since apt does not list archives that it finds there.
        with tempfile.TemporaryDirectory(dir=self._state) as empty:
            (Path(empty) / "partial").mkdir()
            listed = self._run(*self._asking(names, closure), "--print-uris", archives=Path(empty))
        found = re.findall(r"^'[^']*' (\S+\.deb) ([0-9]+)", listed, re.MULTILINE)
        return [Package(name, int(size)) for name, size in found]

    def holds(self, package: Package) -> bool:
        path = self.archives / package.filename
        return path.is_file() and path.stat().st_size == package.size

    def present(self, packages: Sequence[Package]) -> int:
        """Bytes already downloaded, including incomplete archives."""
        paths = [self.archives / folder / p.filename for p in packages for folder in ("", "partial")]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def download(self, names: Sequence[str], closure: bool, step: Step) -> None:
        try:
            self._fetch(names, closure)
        except subprocess.CalledProcessError:
            # Old package lists may name archives that the mirror no longer has.
            step.note("updating the package lists")
            self._update()
            self._fetch(names, closure)

    def _fetch(self, names: Sequence[str], closure: bool) -> None:
        extra = ["--download-only"] if closure else []
        self._run(*self._asking(names, closure), *extra, archives=self.archives, cwd=self.archives)

    def _update(self) -> None:
        (self._state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        self._own_lists = True
        self._run("update", archives=self.archives)

    def _asking(self, names: Sequence[str], closure: bool) -> list[str]:
        verb = ["install", "--no-install-recommends"] if closure else ["download"]
        return [*verb, "-y", "-qq", *names]

    def _run(self, *arguments: str, archives: Path, cwd: Path | None = None) -> str:
        options = {
            "Dir::State": self._state / "state",
            "Dir::State::status": self._state / "status",
            "Dir::State::lists": self._state / "lists" if self._own_lists else Path("/var/lib/apt/lists"),
            "Dir::Cache": self._state,
            "Dir::Cache::archives": archives,
            "Debug::NoLocking": 1,
        }
        if os.getuid() == 0:  # apt's sandbox user cannot write to our folders
            options["APT::Sandbox::User"] = "root"
        command = ["apt-get", *(f"-o{key}={value}" for key, value in options.items()), *arguments]
        done = subprocess.run(command, env=self._environ, cwd=cwd, capture_output=True, text=True, check=True)
        return done.stdout
