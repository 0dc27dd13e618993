"""Amounts as Podman and Go write them → as an AgentRun has them. Pure.

Memory is what docker/go-units reads (`RAMInBytes`): powers of 1024, whatever the case of the suffix, which may be one
of b, k, m, g, t and p, all but the first followed by b or ib. Durations are what Go's `time.ParseDuration` reads. Zero
is the same as none.

All functions raise InvalidInput, whose message says what to write; the caller adds the field.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stromboli.errors import InvalidInput
from stromboli.grammar import duration, quantity
from stromboli.models.fields import MAX_TIMEOUT, MIN_TIMEOUT
from stromboli.plan.amounts import MIN_MEMORY

_MAX_LENGTH = 64
_NUMBER = r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_MEMORY = re.compile(rf"\+?{_NUMBER} ?(?P<unit>|b|[kmgtp](?:b|ib)?)", re.IGNORECASE)
_LIKE_MEMORY = re.compile(rf"{_NUMBER} *(?P<unit>[kmgt])i?b?s?", re.IGNORECASE)
_CPUS = re.compile(rf"\+?{_NUMBER}")
_POWERS = {unit: Fraction(1024**power) for power, unit in enumerate(("b", "k", "m", "g", "t", "p"))}
_ZERO = re.compile(r"[+-]?(?:0|(?:(?:0+(?:\.0*)?|\.0+)(?:ns|us|ms|s|m|h))+)")
_MICRO = ("µs", "μs")  # the micro sign and the Greek letter, both of which Go reads


def memory(text: str) -> str | None:
    """A quantity of the same size, with the largest unit in which it is a whole number."""
    match = _MEMORY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise InvalidInput(f"{_shown(text)} is not a memory size; {_advice(text)}")
    size = int(Fraction(match["number"]) * _POWERS[match["unit"][:1].lower() or "b"])  # go-units too drops fractions
    if size == 0:
        return None
    if size < MIN_MEMORY:
        raise InvalidInput(f"{text!r} is less than the 6m that any container needs; write 512m for example")
    if size > quantity.MAX_BYTES:
        raise InvalidInput(f"{text!r} is more memory than any machine can have; write 512m for example")
    for suffix in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        factor = int(_POWERS[suffix[0].lower()])
        if size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)


def cpus(text: str) -> str | None:
    """A number of CPUs, which is written alike."""
    match = _CPUS.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise InvalidInput(f"{_shown(text)} is not a number of cpus; write 2 or 0.5 for example")
    if not Fraction(match["number"]):
        return None
    quantity.millicpus(text)
    return match["number"]


def timeout(text: str) -> str | None:
    """A duration as an AgentRun has them: without the letter µ and a zero."""
    written = text
    for micro in _MICRO:
        written = written.replace(micro, "us")
    if len(written) <= _MAX_LENGTH and _ZERO.fullmatch(written):
        return None
    if duration.parse(written, maximum=MAX_TIMEOUT) < MIN_TIMEOUT:
        raise InvalidInput(f"{text!r} is less than a second; write a duration such as 90s, 10m or 1h30m")
    return written


def _advice(text: str) -> str:
    match = _LIKE_MEMORY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is not None:
        return f"write {match['number']}{match['unit'].lower()}"
    return "write a number of bytes, or one with b, k, m or g, such as 512m"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]!r}…"
