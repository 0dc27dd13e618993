"""httpapi/translate/units.py: Podman's memory and Go's durations, and what is written instead of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar import duration, quantity
from stromboli.httpapi.translate import units

MEMORY = {
    "512m": "512Mi",
    "512M": "512Mi",
    "512mb": "512Mi",
    "512MB": "512Mi",
    "512MiB": "512Mi",
    "512 m": "512Mi",
    "1g": "1Gi",
    "1.5g": "1536Mi",
    ".5g": "512Mi",
    "1.g": "1Gi",
    "2048m": "2Gi",
    "65536k": "64Mi",
    "1t": "1Ti",
    "536870912": "512Mi",
    "536870912b": "512Mi",
    "536870913": "536870913",
    "536870912.9": "512Mi",
    "+512m": "512Mi",
    "007g": "7Gi",
    "0": None,
    "0m": None,
    "0.0g": None,
    "0.5": None,
}
BAD_MEMORY = {
    "512Mi": "write 512m",
    "512mi": "write 512m",
    "2 GBs": "write 2g",
    "512  m": "write 512m",
    "5k": "is less than the 6m that any container needs",
    "-1": "such as 512m",
    "-512m": "such as 512m",
    "": "such as 512m",
    "m": "such as 512m",
    "lots": "such as 512m",
    "512bb": "such as 512m",
    "512bi": "such as 512m",
    "1e9": "such as 512m",
    "1_000m": "such as 512m",
    "512m\n": "such as 512m",
    "٣g": "such as 512m",
    "1,5g": "such as 512m",
    "9999999p": "more memory than any machine",
    "9" * 100: "such as 512m",
}
CPUS = {"1": "1", "0.5": "0.5", "2.25": "2.25", "+2": "2", ".5": ".5", "0": None, "0.0": None}
BAD_CPUS = {
    "500m": "write 2 or 0.5",
    "two": "write 2 or 0.5",
    "": "write 2 or 0.5",
    "-1": "write 2 or 0.5",
    "1e3": "write 2 or 0.5",
    "0.0001": "finer than a thousandth",
    "100000": "more than the 8192 cpus",
}
TIMEOUTS = {
    "5m": "5m",
    "1h30m": "1h30m",
    "1.5h": "1.5h",
    "+90s": "+90s",
    "2000000µs": "2000000us",
    "2000000μs": "2000000us",
    "0": None,
    "-0": None,
    "0s": None,
    "0h0m0.0s": None,
}
BAD_TIMEOUTS = {
    "5": "write 5s for seconds or 5m for minutes",
    "1d": "write 24h",
    "500ms": "is less than a second",
    "-5m": "is not above zero",
    "200h": "is too long",
    "": "is not a duration",
    "5m\n": "is not a duration",
    "9" * 100 + "s": "is not a duration",
}


@pytest.mark.parametrize(("text", "quantity_"), MEMORY.items())
def test_memory(text: str, quantity_: str | None) -> None:
    assert units.memory(text) == quantity_


@pytest.mark.parametrize(("text", "advice"), BAD_MEMORY.items())
def test_what_is_no_memory(text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=advice):
        units.memory(text)


@pytest.mark.parametrize(("text", "found"), CPUS.items())
def test_cpus(text: str, found: str | None) -> None:
    assert units.cpus(text) == found


@pytest.mark.parametrize(("text", "advice"), BAD_CPUS.items())
def test_what_are_no_cpus(text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=advice):
        units.cpus(text)


@pytest.mark.parametrize(("text", "found"), TIMEOUTS.items())
def test_timeout(text: str, found: str | None) -> None:
    assert units.timeout(text) == found


@pytest.mark.parametrize(("text", "advice"), BAD_TIMEOUTS.items())
def test_what_is_no_timeout(text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=advice):
        units.timeout(text)


def in_go(number: float, suffix: str) -> int:
    """What docker/go-units makes of it: a double, times a power of 1024, and the fraction dropped."""
    power = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}[suffix[:1].lower()]
    return int(number * float(1024**power))


_suffixes = st.sampled_from(["", "b", "B", "k", "K", "kb", "KiB", "m", "M", "mB", "mib", "g", "GB", "gib", "t"])


@given(st.integers(1, 2**20), _suffixes, st.sampled_from(["", " "]))
def test_memory_is_what_podman_means_by_it(number: int, suffix: str, space: str) -> None:
    size = in_go(number, suffix)
    if size < 6 * 1024**2:
        with pytest.raises(InvalidInput):
            units.memory(f"{number}{space}{suffix}")
    else:
        found = units.memory(f"{number}{space}{suffix}")
        assert found is not None
        assert quantity.memory_bytes(found) == size


@given(st.decimals(1, 4096, places=3), st.sampled_from(["m", "g"]))
def test_a_fraction_of_memory_is_what_podman_means_by_it(number: object, suffix: str) -> None:
    size = in_go(float(str(number)), suffix)
    if size >= 6 * 1024**2:
        found = units.memory(f"{number}{suffix}")
        assert found is not None
        assert abs(quantity.memory_bytes(found) - size) <= 1


@given(st.integers(0, 200), st.integers(0, 59), st.sampled_from(["", "500ms", "3.5s"]))
def test_a_timeout_is_as_long_as_it_was(hours: int, minutes: int, rest: str) -> None:
    text = f"{hours}h{minutes}m{rest}"
    try:
        found = units.timeout(text)
    except InvalidInput:
        found = ""
    if found is None:
        assert (hours, minutes, rest) == (0, 0, "")
    elif found:
        assert duration.parse(found) == duration.parse(text)


@pytest.mark.parametrize("read", [units.memory, units.cpus, units.timeout])
@given(text=st.text(max_size=70))
def test_whatever_is_written_is_read_or_refused(read: Callable[[str], str | None], text: str) -> None:
    with suppress(InvalidInput):
        read(text)
