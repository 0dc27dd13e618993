"""What runs: moby's rules for entrypoint and command."""

from __future__ import annotations

import pytest

from stromboli.plan.stack.commands import Command, combined
from stromboli.plan.stack.image import Image
from tests.unit.plan.stack.stacks import service

IMAGE = Image("i", entrypoint=("/entry",), command=("postgres",))
Words = tuple[str, ...]


@pytest.mark.parametrize(
    ("entrypoint", "command", "runs"),
    [
        (None, None, (("/entry",), ("postgres",))),
        (None, (), (("/entry",), ("postgres",))),
        (None, ("-c", "x"), (("/entry",), ("-c", "x"))),
        ((), None, ((), ("postgres",))),
        ((), (), ((), ("postgres",))),
        ((), ("sh",), ((), ("sh",))),
        (("sh", "-c"), None, (("sh", "-c"), ())),
        (("sh", "-c"), ("x",), (("sh", "-c"), ("x",))),
        (("",), ("sh",), ((), ("sh",))),
    ],
)
def test_what_runs(entrypoint: Words | None, command: Words | None, runs: tuple[Words, Words]) -> None:
    found = combined(service("db", entrypoint=entrypoint, command=command), IMAGE)
    assert found == Command(*runs)
    assert not found.is_empty


def test_nothing_to_run() -> None:
    assert combined(service("db"), Image("i")).is_empty
    assert combined(service("db", entrypoint=("",)), IMAGE).is_empty
