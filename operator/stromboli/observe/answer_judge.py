"""`python -m stromboli.observe.answer_judge`: checks an answer by a schema, within the limits of schema_judge.py.

Standard input has the prepared schema on its first line, and the answer on the second. Prints `{"valid": true}` or
`{"violation": "…"}`.
"""

from __future__ import annotations

import json
import sys

from referencing.exceptions import Unresolvable

from stromboli import bounds
from stromboli.bounds import Bounds
from stromboli.observe import schema_judge
from stromboli.plan.validity import violation

_ANSWER = Bounds(depth=128, size=64 * 1024 * 1024, values=200_000)


def main() -> int:
    """Entry point."""
    schema_judge.limit()
    try:
        schema, answer = sys.stdin.buffer.read().split(b"\n", 1)
        found = violation(bounds.json_document(schema, bounds.DOCUMENT), bounds.json_document(answer, _ANSWER))
    except Unresolvable as error:
        found = f"it refers to {str(error.ref)[:80]!r}, which cannot be found"
    except OverflowError:  # a huge number and multipleOf
        found = "it has a number that is too large to be checked"
    except (MemoryError, RecursionError):
        return schema_judge.TOO_LARGE
    json.dump({"valid": True} if found is None else {"violation": found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
