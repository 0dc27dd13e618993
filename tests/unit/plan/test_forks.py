"""Whether a fork's copy fits on the node."""

from __future__ import annotations

import pytest

from stromboli.plan.forks import SMALL, lack_of_room

GB = 10**9


@pytest.mark.parametrize(
    ("size", "free"),
    [
        (0, 0),
        (SMALL - 1, 0),  # if that is too much after all, Podman says so
        (SMALL, 2 * SMALL),
        (5 * GB, 10 * GB),
        (5 * GB, None),  # Podman does not say
        (10**18, None),
    ],
)
def test_there_is_room(size: int, free: int | None) -> None:
    assert lack_of_room("story", size, free) == ""


@pytest.mark.parametrize(
    ("size", "free"), [(SMALL, 2 * SMALL - 1), (5 * GB + 1, 10 * GB), (10**18, 10 * GB), (SMALL, 0), (SMALL, -GB)]
)
def test_there_is_none(size: int, free: int) -> None:
    assert lack_of_room("story", size, free)


def test_the_session_and_both_sizes_are_named() -> None:
    said = lack_of_room("story", 7_200_000_000, 512_300_000)
    assert said == (
        "a copy of the files of session story takes up to 7.2 GB, since holes in files are written out, and may take "
        "half of the 512 MB that are free where Podman keeps its images; make room there, or delete this run"
    )
