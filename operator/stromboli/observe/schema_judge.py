"""`python -m stromboli.observe.schema_judge`: checks the JSON Schema on standard input, within limits.

Prints `{"schema": …}` with what is passed to the CLI, or `{"refused": "…"}`. If it exceeds the limits, it ends by a
signal of the kernel or with `TOO_LARGE`: see schemas.py.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from stromboli import bounds
from stromboli.errors import UnusableSchema
from stromboli.plan.schema import prepare

CPU_SECONDS = 5
MEMORY = 512 * 1024 * 1024
TOO_LARGE = 3  # exit code


def limit() -> None:
    """Set the limits of this process."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)


def main() -> int:
    """Entry point."""
    limit()
    try:
        answer: dict[str, object] = {"schema": prepare(bounds.json_document(sys.stdin.buffer.read(), bounds.DOCUMENT))}
    except UnusableSchema as refusal:
        answer = {"refused": str(refusal)}
    except (MemoryError, RecursionError):
        return TOO_LARGE
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
