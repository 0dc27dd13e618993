"""What a process can be started with: the kernel bounds its arguments and variables (execve(2))."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MAX_STRING = 128 * 1024  # bytes of one, with its NUL
MAX_TOTAL = 1024 * 1024  # of all, half of what there mostly is: the image has some of its own
_POINTER = 8  # bytes that each takes beside its text


def too_long(variables: Mapping[str, str]) -> str | None:
    """The name of a variable that is too long; None if there is none."""
    return next((name for name, value in variables.items() if _size(f"{name}={value}") > MAX_STRING), None)


def fits(words: Iterable[str], variables: Mapping[str, str]) -> bool:
    """Whether a process can be started with all of that."""
    texts = (*words, *(f"{name}={value}" for name, value in variables.items()))
    return sum(_size(text) + _POINTER for text in texts) <= MAX_TOTAL


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) + 1
