"""One run from `kubectl apply` to its answer."""

from __future__ import annotations

from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, completed, condition


def test_a_prompt_is_answered(operator: OperatorProcess, runs: Runs, standin: Standin, python_image: str) -> None:
    before = len(standin.requests())
    done = runs.run("hello", prompt="ECHO{forty-two}", image=python_image)
    status = done["status"]
    assert condition(completed(done, operator.last_words()))["status"] == "True"
    assert status["result"]["text"] == "forty-two"
    assert status["phase"] == "Succeeded"
    assert len(standin.requests()) == before + 1
