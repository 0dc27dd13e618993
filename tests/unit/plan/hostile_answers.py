"""Outputs that an agent can write, each read in a fork (tests/unit/forks.py).

`main` prints what reading one took: in kilobytes above what the output itself takes.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Mapping
from dataclasses import asdict

from stromboli.plan import answer
from stromboli.plan.redaction import Secrets

SIZE = 10 * 1024 * 1024 - 256  # what is read of an output


def event(field: str, value: bytes) -> bytes:
    """A result event that is right but for one field."""
    rest = b'{"type":"result","is_error":false,"num_turns":3,"usage":{"input_tokens":5},'
    said = b"" if field in ("result", "errors") else b'"result":"hi",'
    return rest + said + b'"' + field.encode() + b'":' + value + b"}\n"


def _many(value: bytes) -> bytes:
    return b"[" + (value + b",") * (SIZE // (len(value) + 1)) + b"0]"


def _nested(before: bytes, after: bytes) -> bytes:
    depth = SIZE // len(before + after)
    return before * depth + b"0" + after * depth


OUTPUTS: Mapping[str, Callable[[], bytes]] = {
    "lists": lambda: event("structured_output", _many(b"[[]]")),
    "lists elsewhere": lambda: event("x", _many(b"[[]]")),
    "objects": lambda: event("structured_output", _many(b'{"a":{}}')),
    "numbers": lambda: event("structured_output", _many(b"1")),
    "just readable": lambda: event("structured_output", b"[" + b"[[]]," * 130_000 + b"0]"),
    "just small enough": lambda: event("structured_output", b"[" + b'{"a":{}},' * 33_000 + b"0]"),
    "deep lists": lambda: event("session_id", _nested(b"[", b"]")),
    "deep objects": lambda: event("subtype", _nested(b'{"a":', b"}")),
    "deep errors": lambda: event("errors", b"[" + _nested(b"[", b"]") + b"]"),
    "deep and wide": lambda: event("structured_output", _many(b"[" * 66 + b"]" * 66)),
    "errors": lambda: event("errors", _many(b'"aaaaaaa"')),
    "wide text": lambda: event("result", b'"' + "🦊".encode() * (SIZE // 4) + b'"'),
    "escapes": lambda: event("result", b'"' + b"\\u001b" * (SIZE // 6) + b'"'),
    "brackets in a text": lambda: event("result", b'"' + b"[{" * (SIZE // 2) + b'"'),
    "quotes": lambda: b'""' * (SIZE // 2) + b'"result"\n' + event("x", b"1"),
    "line feeds": lambda: event("x", b"1") + b"\n" * SIZE,
    "lines": lambda: b'"result"\n' * (SIZE // 9),
}


def main(name: str) -> None:
    output = OUTPUTS[name]()
    answer.parse(event("x", b"1"), Secrets(()))
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = answer.parse(output, Secrets(("sk-ant-" + "x" * 40, "y" * 20)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "kilobytes": after.ru_maxrss - before.ru_maxrss,
                "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "answer": None if found is None else asdict(found),
            }
        )
    )
