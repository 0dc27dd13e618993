"""A new user of the project: an unprivileged user, a clean checkout, and commands typed into a shell.

What `make` would install from a package index is provided: a `.venv` that uses the tests' own packages. What would be
pulled from a registry is provided too: the images are loaded into the installation's Podman.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stromboli.controlplane.binaries import Binaries
from tests.support.documents import ROOT, Block
from tests.support.installation import Installation, installed_in
from tests.support.ordinary_user import OrdinaryUser, ordinary_user, program

SECONDS = 600.0
# The marker by which operator/setup.sh records what `.venv` was built from.
_COMPLETE = 'printf %s "$PWD $("$(command -v python3)" -V) $(cat requirements.lock pyproject.toml | sha256sum)"'
_ENTRY = '#!/bin/sh\nexec {python} -P -m stromboli "$@"\n'


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Commands are typed in `checkout`; `installation` is what `make demo` creates there."""

    user: OrdinaryUser
    checkout: Path
    installation: Installation

    def types(self, blocks: Sequence[Block], before: str = "") -> str:
        """Run the blocks of a document in one shell, as printed. Returns the output.

        A failing command is an AssertionError whose output shows its block.
        """
        script = "\n".join(["set -e", before, *(f"echo '=== {block}'\n{block.text}" for block in blocks)])
        done = subprocess.run(
            ["sh", "-c", script],
            env=self.installation.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
            **{**self.user.identity, "cwd": self.checkout},
        )
        output: str = done.stdout
        assert done.returncode == 0, f"…{output[-6000:]}"
        return output


@contextmanager
def newcomer(programs: Binaries, archives: Sequence[Path], environ: dict[str, str] | None = None) -> Iterator[Newcomer]:
    """A newcomer with the images in `archives`; everything is removed after the block."""
    with ordinary_user() as user:
        python, variables = program(user)
        checkout = user.folder / "checkout"
        _copy(checkout)
        shutil.rmtree(user.folder / "program" / "packages" / "stromboli")
        variables["PYTHONPATH"] += f":{checkout / 'operator'}"
        own = user.folder / "bin"
        own.mkdir()
        (own / "python3").symlink_to(python)
        variables["PATH"] = f"{own}:{user.environ['PATH']}"
        _venv(checkout, python, {**user.environ, **variables})
        assets = Binaries(Path(shutil.copytree(programs.folder, user.folder / "assets")), "copy")
        user.owns(user.folder)
        more = {**variables, **(environ or {})}
        made = installed_in(user.folder / "home", assets, user, (python, "-m", "stromboli"), more)
        try:
            made.load(*archives)
            yield Newcomer(user, checkout, made)
        finally:
            made("down", "--purge")


def _copy(checkout: Path) -> None:
    """Copy the files that a clone would have, and those not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)


def _venv(checkout: Path, python: str, environ: dict[str, str]) -> None:
    folder = checkout / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(python)
    (folder / "stromboli").write_text(_ENTRY.format(python=shlex.quote(python)))
    (folder / "stromboli").chmod(0o755)
    complete = subprocess.run(["sh", "-c", _COMPLETE], cwd=checkout, env=environ, capture_output=True, check=True)
    (folder.parent / "complete").write_bytes(complete.stdout)
