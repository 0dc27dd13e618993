"""The table in the administrator's guide has every metric, as it is defined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from tests.support.metrics import gateway_metrics, operator_metrics

GUIDE = Path(__file__).parents[3] / "docs/administrators.md"
HEAD = "| Metric | Type | Labels | What it is |"


def rows(registry: CollectorRegistry) -> Iterator[str]:
    for metric in registry.collect():
        if not metric.name.startswith("stromboli_"):
            continue
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        told = ", ".join(f"`{label}`" for label in labels)
        yield f"| `{name}` | {metric.type} | {told} | {metric.documentation} |"


def table(after: str) -> list[str]:
    """The rows of the first table after those words."""
    lines = GUIDE.read_text().partition(after)[2].partition(HEAD)[2].splitlines()[2:]
    return lines[: lines.index("")]


def test_those_of_the_operator() -> None:
    assert table("### Of the operator") == sorted(rows(operator_metrics()))


def test_those_of_the_gateway() -> None:
    assert table("### Of the gateway") == sorted(rows(gateway_metrics()))
