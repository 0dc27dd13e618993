"""Cases that need a process of their own, each in a fork of one that has loaded what they use.

A new interpreter takes a quarter of a second to do that; a fork, some milliseconds. `python -m tests.unit.forks MODULE`
reads the names of cases from its standard input, and calls the module's `main` for each in a fork.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EXIT_CODE = "exit code "


class Forks:
    """The process that forks. What the forks write to standard error is in `errors`."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def lines(self, case: str) -> list[str]:
        """What a case prints. It has to end by itself, with exit code 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        said: list[str] = []
        while not said or not said[-1].startswith(EXIT_CODE):
            line = self._process.stdout.readline()
            assert line, self._last_words()
            said.append(line.rstrip("\n"))
        assert said[-1] == f"{EXIT_CODE}0", f"{case}: {said[-1]}, {self._last_words()}"
        return said[:-1]

    def _last_words(self) -> str:
        return self._errors.read_text(errors="replace")[-2000:]


@contextmanager
def of(module: str, folder: Path) -> Iterator[Forks]:
    """Forks of a process that has loaded the module; the folder is for its errors."""
    errors = folder / "errors"
    command = [sys.executable, "-m", "tests.unit.forks", module]
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        yield Forks(process, errors)


def _fork(main: Callable[[str], None], case: str) -> int:
    """The exit code of a fork that calls `main`; below 0 for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            main(case)
            sys.stdout.flush()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it was: the fork must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _serve(module: str) -> None:
    main = importlib.import_module(module).main
    for line in sys.stdin:
        print(f"{EXIT_CODE}{_fork(main, line.strip())}", flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
