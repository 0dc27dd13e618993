"""What no process can be started with is refused before anything starts, with its field."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.plan import processes, request
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec

WIDE = "🦊"  # four bytes
FULL = (processes.MAX_STRING - len("A=") - 1) // 4  # of them in a variable A


def _refusal(under: Any = None, **fields: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        request.build(spec(**fields), under or effective())
    return refused.value


def test_a_variable_as_large_as_one_can_be() -> None:
    request.build(spec(env=[{"name": "B", "value": "x"}, {"name": "A", "value": WIDE * FULL}]), effective())


def test_a_larger_one_is_the_specs_mistake() -> None:
    refusal = _refusal(env=[{"name": "B", "value": "x"}, {"name": "A", "value": WIDE * (FULL + 1)}])
    assert refusal.reason is Reason.InvalidSpec
    assert refusal.message.startswith("spec.env[1]: A has 131075 bytes with its name")
    assert refusal.message.endswith("put it into a file")


def test_a_policys_is_the_policys() -> None:
    under = effective(policy(env=[{"name": "A", "value": WIDE * (FULL + 1)}]))
    refusal = _refusal(under)
    assert refusal.reason is Reason.PolicyViolation
    assert refusal.message.startswith("the policy's env A has 131075 bytes")


def test_all_together() -> None:
    env = [{"name": f"A{n}", "value": WIDE * 30_000} for n in range(13)]
    request.build(spec(env=env), effective())
    rules = [WIDE * 1000 + str(n) for n in range(100)]
    refusal = _refusal(env=env, claude={"allowedTools": rules})
    assert refusal.reason is Reason.InvalidSpec
    assert refusal.message.startswith("spec: env and the options of claude that become arguments have ")
    assert "put what is long into files" in refusal.message
    under = effective(policy(env=[{"name": f"P{n}", "value": WIDE * 30_000} for n in range(4)]))
    assert "have 20" in _refusal(under, env=env).message
