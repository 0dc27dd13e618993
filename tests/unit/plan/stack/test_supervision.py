"""How a service is looked after, and what a restarted operator reads of that in a label."""

from __future__ import annotations

import pytest

from stromboli.compose.stack import HealthCheck, Port
from stromboli.plan.stack import supervision
from stromboli.plan.stack.health import Check
from stromboli.plan.stack.image import Image, ImageCheck
from stromboli.plan.stack.supervision import Supervision
from tests.unit.plan.stack.stacks import service, stack

IMAGE = Image("i", tcp=frozenset({6379, 16379}), check=ImageCheck(("CMD", "redis-cli", "ping")))


def test_a_check_goes_before_ports() -> None:
    found = supervision.of(service("cache"), IMAGE, one_shot=False)
    assert found == Supervision(Check(("redis-cli", "ping")), (), None, one_shot=False, grace=10)


def test_without_a_check_ports_count_and_without_those_nothing() -> None:
    off = HealthCheck(("NONE",))
    found = supervision.of(
        service("cache", healthcheck=off, restart="always", stop_grace_period=0.5), IMAGE, one_shot=True
    )
    assert found == Supervision(None, (6379, 16379), "always", one_shot=True, grace=0.5)
    assert supervision.of(service("a", expose=(Port("x", 80),)), Image("i"), one_shot=False).ports == (80,)
    assert supervision.of(service("a"), Image("i"), one_shot=False).ports == ()


def test_a_label_has_all_of_it() -> None:
    for one in (
        supervision.of(service("cache", stop_grace_period=90), IMAGE, one_shot=False),
        supervision.of(service("a", healthcheck=HealthCheck(("NONE",))), IMAGE, one_shot=True),
    ):
        assert Supervision.from_label(one.to_label()) == one


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"check": 1}', "[" * 10_000])
def test_a_label_of_somebody_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        Supervision.from_label(text)


def test_who_has_a_check() -> None:
    services = stack(service("a"), service("b"), service("c", healthcheck=HealthCheck(("CMD", "x"))))
    assert supervision.checked(services, {"a": IMAGE, "b": Image("i"), "c": Image("i")}) == {"a", "c"}
