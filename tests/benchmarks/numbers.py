"""Statistics over samples, and their formatting. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A measured value with its limit."""

    what: str
    value: float
    limit: float
    sense: Literal["at most", "at least"]
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit

    def as_dict(self) -> dict[str, object]:
        return {
            "what": self.what,
            "value": round(self.value, 3),
            "goal": f"{self.sense} {self.limit:g}{self.unit}",
            "met": self.met,
        }


def spread(samples: Sequence[float]) -> dict[str, float | int]:
    """Median, minimum, maximum and number of samples."""
    return {
        "median": round(median(samples), 4),
        "min": round(min(samples), 4),
        "max": round(max(samples), 4),
        "n": len(samples),
    }


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median by key over all rows that have it; keys in order of first appearance."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: median(row[key] for row in rows if key in row) for key in keys}


def union(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """All names of both, in an order compatible with each; one only in `second` comes after its predecessor there."""
    names, place = list(first), 0
    for name in second:
        if name not in names:
            names.insert(place, name)
        place = names.index(name) + 1
    return names


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Seconds by name, rounded for the results file."""
    return {name: round(value, 5) for name, value in values.items()}


def ms(seconds: float) -> str:
    """Seconds formatted as milliseconds."""
    return f"{seconds * 1000:.0f} ms"


def fine(seconds: float) -> str:
    """Seconds formatted as milliseconds with one decimal, for short times."""
    return f"{seconds * 1000:.1f} ms"


def p95(samples: Sequence[float]) -> float:
    """The value that 95 of 100 samples do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
