"""A long step speaks, but not all the time."""

from __future__ import annotations

import pytest

from stromboli.controlplane.progress import Stage, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_speaks_when_it_is_time_and_at_the_end() -> None:
    clock, said = Clock(), list[str]()
    stage = Stage(said.append, "compiling", every=5, clock=clock)
    for clock.now, amount in ((101.0, "1 of 9"), (105.0, "4 of 9"), (107.0, "5 of 9"), (110.5, "8 of 9")):
        stage.tick(amount)
    clock.now = 171.0
    stage.done("9 of 9")
    assert said == [
        "compiling: 4 of 9, 5.0 s",
        "compiling: 8 of 9, 10 s",
        "compiling: 9 of 9, 1 min 11 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (383, "6 min 23 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
