"""An unprivileged user, for what has to work without root: a temporary one, or the user who runs the tests.

The user gets a folder of its own, subordinate IDs, and a copy of the interpreter and the package, since it may not have
access to those of the tests (in root's home, for instance). Its Podman is `podman.IsolatedPodman`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stromboli

SUBORDINATE = 65536  # number of IDs: an image's user may have any of them
_BIG_AND_UNUSED = (
    "pip", "setuptools", "mypy", "mypyc", "*__mypyc*", "ruff", "hypothesis", "grimp", "_pytest",
)  # fmt: skip
_NOT_OF_THE_LIBRARY = ("site-packages", "test", "config-*", "idlelib", "tkinter", "turtledemo", "lib2to3")


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """`folder` belongs to the user; `runtime` is on a tmpfs. Both are removed with the user."""

    name: str
    uid: int
    gid: int
    folder: Path
    runtime: Path

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments of `subprocess` that run a process as the user."""
        if os.geteuid() == self.uid:
            return {"cwd": self.folder}
        return {"user": self.uid, "group": self.gid, "extra_groups": (), "cwd": self.folder}

    @property
    def environ(self) -> dict[str, str]:
        """The user's complete environment."""
        return {
            "HOME": str(self.folder),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def owns(self, path: Path) -> None:
        """Change the owner of a file, or of a folder and its contents, to the user."""
        for entry in (path, *path.rglob("*")):
            os.chown(entry, self.uid, self.gid, follow_symlinks=False)


@contextmanager
def ordinary_user() -> Iterator[OrdinaryUser]:
    """A user created for the block and removed after it; if the tests do not run as root, their own user."""
    made = _made() if os.geteuid() == 0 else None
    entry = pwd.getpwnam(made) if made else pwd.getpwuid(os.geteuid())
    folders = [Path(tempfile.mkdtemp(prefix="stromboli-user-", dir=parent)) for parent in (None, "/dev/shm")]
    try:
        for folder in folders:
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield OrdinaryUser(entry.pw_name, entry.pw_uid, entry.pw_gid, *folders)
    finally:
        for folder in folders:
            shutil.rmtree(folder)
        if made:
            _run("userdel", "--force", made)  # --force: zombies not yet reaped count as processes of the user


def program(user: OrdinaryUser) -> tuple[str, dict[str, str]]:
    """An interpreter that the user can run, and the environment variables with which it finds the package."""
    folder = user.folder / "program"
    packages = sysconfig.get_path("purelib")
    shutil.copytree(packages, folder / "packages", ignore=shutil.ignore_patterns(*_BIG_AND_UNUSED))
    assert stromboli.__file__ is not None
    shutil.copytree(Path(stromboli.__file__).parent, folder / "packages" / "stromboli")
    environ = {"PYTHONPATH": str(folder / "packages")}
    interpreter = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if _open_to_all(interpreter):
        return str(interpreter), environ
    copy = _copy_of_interpreter(interpreter, folder)
    return str(copy), {**environ, "LD_LIBRARY_PATH": str(folder / "lib")}


def _copy_of_interpreter(interpreter: Path, folder: Path) -> Path:
    """Copy the interpreter: Python finds its library relative to its executable, so any place works."""
    version = interpreter.name
    (folder / "bin").mkdir()
    shutil.copytree(
        interpreter.parent.parent / "lib" / version,
        folder / "lib" / version,
        ignore=shutil.ignore_patterns(*_NOT_OF_THE_LIBRARY),
    )
    for shared in (interpreter.parent.parent / "lib").glob("libpython3.*.so.*"):
        shutil.copy2(shared, folder / "lib")
    return Path(shutil.copy2(interpreter, folder / "bin" / version))


def _open_to_all(file: Path) -> bool:
    real = file.resolve()
    return all(path.stat().st_mode & 0o005 == 0o005 for path in (real, *real.parents))


def _made() -> str:
    """Create a user with subordinate IDs. Returns its name."""
    name = f"stromboli-t{os.getpid()}"
    _run("useradd", "--no-create-home", "--shell", "/bin/sh", name)
    for file, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        lines = [line.split(":") for line in Path(file).read_text().splitlines()]
        if not any(owner == name for owner, _, _ in lines):  # login.defs(5) may disable automatic allocation
            first = max([100000, *(int(start) + int(count) for _, start, count in lines)])
            _run("usermod", option, f"{first}-{first + SUBORDINATE - 1}", name)
    return name


def _run(*command: str) -> None:
    path = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    subprocess.run(command, env={"PATH": path}, check=True, capture_output=True, timeout=60)
