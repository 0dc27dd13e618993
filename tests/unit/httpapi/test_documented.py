"""docs/http.md has every field of a request, every end of a run, and says of each what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.httpapi.shapes.run import ClaudeOptions, Environment, Lifecycle, PodmanOptions, RunRequest
from stromboli.httpapi.translate import answer
from stromboli.models.run import Run
from stromboli.plan import answered
from stromboli.reasons import Reason
from tests.support.builders import at, read

TEXT = (Path(__file__).parent.parent.parent.parent / "docs/http.md").read_text()
SHAPES = (
    ("", RunRequest),
    ("claude.", ClaudeOptions),
    ("podman.", PodmanOptions),
    ("podman.lifecycle.", Lifecycle),
    ("podman.environment.", Environment),
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names(cell: str) -> Iterator[str]:
    """The names in a cell, in which those after the first may leave out what they have in common with it."""
    inside = ""
    for name in re.findall(r"`([^`]+)`", cell):
        if not name.startswith("."):
            inside = name.rpartition(".")[0]
        yield f"{inside}{name}" if name.startswith(".") else name


def test_every_field_of_a_request_is_in_the_table() -> None:
    listed = [name for row in rows("A request, and the AgentRun that it makes") for name in names(row[0])]
    fields = {
        prefix + (field.alias or name)
        for prefix, shape in SHAPES
        for name, field in shape.model_fields.items()
        if not (field.is_required() is False and field.default_factory is not None)
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == fields


def ends() -> Iterator[tuple[Reason, str, str]]:
    for reasons, run, job in rows("How a run's end is answered"):
        for name in re.findall(r"`(\w+)`", reasons.split("; `TimedOut` while")[0].split(", and `AgentFailed` if")[0]):
            yield Reason(name), run, job.strip("`")  # type: ignore[call-arg]


def test_every_end_of_a_run_is_in_the_table() -> None:
    assert {reason for reason, _, _ in ends()} == {reason for reason in Reason if reason.status != "Unknown"}


@pytest.mark.parametrize(("reason", "run", "job"), list(ends()), ids=str)
def test_an_end_is_answered_as_the_table_says(reason: Reason, run: str, job: str) -> None:
    ended = read(at(reason))
    assert said(ended) == run
    assert answered.job_status(ended) == job


def said(run: Run) -> str:
    status = answer.http_status(run)
    return f"200, `{answer.of_run(run).status}`" if status == 200 else str(status)
