"""What a status does not have of an answer is said, and where it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.builders import result_event
from tests.unit.reconcile.conftest import SPACE, Inside, Node


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"structured_output": "x" * 300_000}, "the structured answer is larger than 262144 bytes"),
        ({"structured_output": _nested(65)}, "the structured answer is nested deeper than 64 levels"),
        ({"result": "x" * 40_000}, "the text is longer than 32768 bytes"),
    ],
)
async def test_an_answer_that_does_not_fit(node: Node, fields: dict[str, Any], said: str) -> None:
    async def agent(inside: Inside) -> None:
        node.answer(inside)
        (inside.out / "stdout").write_bytes(result_event(**fields))

    node.agent = agent
    node.run()
    async with node.process():
        await node.finished()
        await node.until(lambda: any(e["reason"] == "AnswerIncomplete" for e in node.cluster.events.values()), "told")
    where = f"until the run is deleted, `stromboli logs run -n {SPACE} --raw` shows all of it"
    lost = f"the status does not hold all of the answer: {said}; {where}"
    assert node.message() == f"answered in 1 turn; {lost}"
    assert node.status()["conditions"][0]["reason"] == "Completed"
    assert "structured" not in node.status()["result"]
    [event] = [e for e in node.cluster.events.values() if e["reason"] == "AnswerIncomplete"]
    assert (event["type"], event["message"]) == ("Warning", lost)


async def test_an_answer_that_fits_needs_no_word(node: Node) -> None:
    node.run()
    async with node.process():
        await node.finished()
    assert node.message() == "answered in 1 turn"
    assert not [e for e in node.cluster.events.values() if e["reason"] == "AnswerIncomplete"]
