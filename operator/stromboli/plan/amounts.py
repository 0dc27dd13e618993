"""Parses amounts as users write them; each is at least what a container or an attempt needs. Pure.

All functions raise InvalidInput, whose message says what to write; the caller adds the field.
"""

from __future__ import annotations

from stromboli.errors import InvalidInput
from stromboli.grammar import duration, quantity
from stromboli.models.fields import MAX_TIMEOUT, MIN_TIMEOUT

MIN_MEMORY = 6 * 1024 * 1024  # below this runc cannot start a container at all


def memory(value: int | str) -> int:
    """Bytes."""
    size = quantity.memory_bytes(value)
    if size < MIN_MEMORY:
        raise InvalidInput(f"{value} is less than the 6Mi that any container needs; write 512Mi for example")
    return size


def cpus(value: int | float | str) -> int:
    """Thousandths of a cpu."""
    return quantity.millicpus(value)


def timeout(text: str) -> float:
    """Seconds."""
    seconds = duration.parse(text, maximum=MAX_TIMEOUT)
    if seconds < MIN_TIMEOUT:
        raise InvalidInput(f"{text!r} is less than a second; write a duration such as 90s, 10m or 1h30m")
    return seconds
