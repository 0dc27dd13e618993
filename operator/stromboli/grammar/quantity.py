"""Kubernetes quantities for memory and CPU: text → bytes, text → thousandths of a CPU.

The syntax is that of k8s.io/apimachinery `pkg/api/resource/quantity.go`: a decimal number with a suffix
(n, u, m, k, M, G, T, P, E; Ki, Mi, Gi, Ti, Pi, Ei) or an exponent. What Kubernetes silently rounds or caps is rejected
here: fractions of a byte (`512m`), fractions of a thousandth of a CPU, anything beyond an int64. How much of it a run
may have is decided by the caller.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stromboli.errors import InvalidInput

MAX_BYTES = 2**63 - 1  # the largest value of Podman's int64
MAX_CPUS = 8192  # the most that a Linux kernel can be built for (NR_CPUS)

_NUMBER = "[0-9]+(?:[.][0-9]*)?|[.][0-9]+"
_SOME = "[0-9]*[1-9][0-9]*(?:[.][0-9]*)?|[0-9]*[.][0-9]*[1-9][0-9]*"
_SUFFIX = "[KMGTPE]i|[kMGTPE]|[eE][+-]?[0-9]+"

MEMORY_RE2 = f"^[+]?(?:{_SOME})(?:{_SUFFIX})?$"
"""A memory quantity above zero. `memory_bytes` also rejects fractions of a byte and more than MAX_BYTES."""
CPU_RE2 = f"^[+]?(?:{_SOME})(?:{_SUFFIX}|[num])?$"
"""A CPU quantity above zero. `millicpus` also rejects fractions of a thousandth and more than MAX_CPUS.
Neither expression contains a backslash or a quote, so both can be used in a CEL string."""

_QUANTITY = re.compile(f"(?P<sign>[+-]?)(?P<number>{_NUMBER})(?P<suffix>{_SUFFIX}|[num])?")
_LOOSE = re.compile(f"[+]?(?P<number>{_NUMBER}) *(?P<unit>[A-Za-z]*)")
_MAX_LENGTH = 64

_DECIMAL = "kMGTPE"
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{s: Fraction(1000 ** (n + 1)) for n, s in enumerate(_DECIMAL)},
    **{f"{s.upper()}i": Fraction(1024 ** (n + 1)) for n, s in enumerate(_DECIMAL)},
}


def memory_bytes(value: int | str) -> int:
    """Parse a memory quantity into bytes, above zero. Bare numbers in YAML arrive as int. Raises InvalidInput."""
    text = str(value)
    if re.fullmatch(rf"[+]?(?:{_NUMBER})[num]", text):
        raise InvalidInput(
            f"{text!r} is a fraction of a byte: in Kubernetes, the suffix {text[-1]} divides; {_memory_advice(text)}"
        )
    amount = _parse(text, "a memory size", _memory_advice(text))
    if amount > MAX_BYTES:
        raise InvalidInput(f"{text!r} is more memory than any machine can have; write 512Mi for example")
    if amount.denominator != 1:
        raise InvalidInput(f"{text!r} is not a whole number of bytes; write 512Mi for example")
    return int(amount)


def millicpus(value: int | float | str) -> int:
    """Parse a CPU quantity into thousandths, above zero. Bare numbers in YAML arrive as int or float.

    Raises InvalidInput.
    """
    text = str(value)
    amount = _parse(text, "a number of cpus", "write 2, 0.5 or 500m for example")
    if amount > MAX_CPUS:
        raise InvalidInput(f"{text!r} is more than the {MAX_CPUS} cpus a machine can have; write 2 or 500m")
    thousandths = amount * 1000
    if thousandths.denominator != 1:
        raise InvalidInput(f"{text!r} is finer than a thousandth of a cpu; write 1m or more")
    return int(thousandths)


def _parse(text: str, what: str, advice: str) -> Fraction:
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if not match:
        shown = repr(text) if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]!r}…"
        raise InvalidInput(f"{shown} is not {what}; {advice}")
    number = Fraction(match["number"])
    if match["sign"] == "-" or number == 0:
        raise InvalidInput(f"{text!r} is not above zero; {advice}")
    return number * _factor(match["suffix"] or "")


def _factor(suffix: str) -> Fraction:
    if not suffix:
        return Fraction(1)
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    # Beyond 100 the result is the same (too much or too fine), without a number that would fill the memory.
    return Fraction(10) ** max(-100, min(100, int(suffix[1:])))


def _memory_advice(text: str) -> str:
    """What was probably meant by an invalid unit: `512m`, `2g`, `512MB`, `512 Mi`."""
    match = _LOOSE.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    unit = match["unit"][:1].upper() if match else ""
    if match and unit in ("K", "M", "G", "T") and Fraction(match["number"]):
        return f"write {match['number']}{unit}i"
    return "write a number of bytes, or one with Ki, Mi or Gi, such as 512Mi"
