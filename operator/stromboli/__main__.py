"""`stromboli`, `python -m stromboli` and `kubectl stromboli`: runs the command line, and turns errors into one message.

Users see no traceback for an error that they can correct. Exit codes: 0 success, 1 failure, 2 wrong usage, 130
interrupted; and those of cli/exitcodes.py.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from stromboli import visible
from stromboli.errors import LocalFailure, StromboliError

_NAME = "stromboli"
_PLUGIN = "kubectl stromboli"


def main() -> None:
    """Entry point of the console script `stromboli`."""
    _start(_NAME)


def plugin() -> None:
    """Entry point of the console script `kubectl-stromboli`, which kubectl finds by its name."""
    _start(_PLUGIN)


def complete() -> None:
    """Entry point of the console script `kubectl_complete-stromboli`, which kubectl asks for completions of it."""
    from stromboli.cli.completion import for_kubectl

    print(for_kubectl(sys.argv[1:], _PLUGIN))


def _start(program: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for what the encoding of the locale does not have
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # it is under nohup
            signal.signal(number, _interrupt)
    sys.exit(run(sys.argv[1:], program))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a closed terminal and a `kill` like ^C, so that what is incomplete is removed before the exit."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str], program: str = _NAME) -> int:
    """Run one command; returns its exit code. Failures go to standard error. `program` is how it was called."""
    from stromboli.cli.app import app

    try:
        code = app.main(list(arguments), prog_name=program, standalone_mode=False)
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader is gone (`stromboli env | head`). Python would report that again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LocalFailure as e:
        return _fail(str(e).replace(f"`{_NAME} ", f"`{program} "), e.code)
    except StromboliError as e:
        return _fail(str(e), 1)
    except OSError as e:
        return _fail(f"{e.filename}: {e.strerror}" if e.filename else str(e), 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"stromboli: {visible.text(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
