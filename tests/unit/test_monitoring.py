"""The board and the alerts in manifests/monitoring name what operator and gateway export, and nothing else; the board
shows all of it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import promql
from tests.support.metrics import gateway_metrics, operator_metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "manifests/monitoring"
# Labels that Prometheus adds to each series.
ADDED = {"instance", "job", "namespace", "pod"}
# Labels whose values are all in a registry with all definitions.
CLOSED = {"reason", "result", "stage", "kind", "component"}
NOT_ON_THE_BOARD: dict[str, str] = {}  # with the reason
Exported = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    """All samples by name, with the values of their labels."""
    found: Exported = defaultdict(lambda: defaultdict(set))
    for registry in (operator_metrics(), gateway_metrics()):
        for metric in registry.collect():
            for sample in metric.samples:
                labels = found[sample.name]
                for name, value in sample.labels.items():
                    labels[name].add(value)
    return found


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "stromboli.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


EXPRESSIONS = {
    **{f"board: {p['title']}, {t['refId']}": t["expr"] for p in panels() for t in p["targets"]},
    **{f"alert: {rule['alert']}": rule["expr"] for rule in alerts()},
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_is_named_is_exported(expression: str, exported: Exported) -> None:
    check(expression, exported)


def check(expression: str, exported: Exported) -> None:
    found = promql.read(expression)
    assert found.selectors, "it names no metric"
    known = set(ADDED)
    for selector in found.selectors:
        assert selector.metric in exported, f"{selector.metric} is not exported"
        labels = exported[selector.metric]
        known |= labels.keys()
        for label, operator, value in selector.matchers:
            assert label in labels.keys() | ADDED, f"{selector.metric} has no label {label}"
            if label in CLOSED:
                for wanted in value.split("|") if "~" in operator else [value]:
                    assert wanted in labels[label], f"{label} of {selector.metric} is never {wanted}"
    assert found.grouped <= known, f"no metric in it has {found.grouped - known}"


@pytest.mark.parametrize(
    "expression",
    [
        "stromboli_runs",
        'stromboli_runs_total{outcome="failed"}',
        'stromboli_runs_total{result="broken"}',
        'stromboli_runs_total{reason=~"AgentFailed|Tired"}',
        "sum by (namespace_of_the_run) (stromboli_runs_total)",
        "1",
    ],
)
def test_a_name_that_is_not_exported_is_found(expression: str, exported: Exported) -> None:
    with pytest.raises(AssertionError):
        check(expression, exported)


@pytest.mark.parametrize(
    "expression",
    ["sum(a", "sum(a) b", "rate(a)", "rate(a[5x])", "summ(a)", "a{b}", "a{b=c}", "a +", "sum by a (b)", "by"],
)
def test_what_is_no_expression_is_found(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        promql.read(expression)


def test_everything_that_is_exported_is_on_the_board(exported: Exported) -> None:
    shown = {s.metric for p in panels() for t in p["targets"] for s in promql.read(t["expr"]).selectors}
    ours = {re.sub(r"_(bucket|count|sum)$", "_bucket", name) for name in exported if name.startswith("stromboli_")}
    assert len(ours) > 20
    assert ours - shown == set(NOT_ON_THE_BOARD)


def test_the_board_is_one_that_grafana_can_lay_out() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in board()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        for target in panel["targets"]:
            for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]):
                assert label in promql.read(target["expr"]).grouped | ADDED, panel["title"]


def test_an_alert_says_what_it_means(exported: Exported) -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 8
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        found = promql.read(rule["expr"])
        labels = found.grouped | ADDED
        if not found.grouped:
            labels |= {label for s in found.selectors for label in exported[s.metric]}
        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, rule["alert"]


def test_what_is_scraped_is_there() -> None:
    """The ports and labels of the monitors are those of the Deployments."""
    monitors = list(yaml.safe_load_all((FOLDER / "monitors.yaml").read_text()))
    for monitor, file in zip(monitors, ("operator.yaml", "gateway.yaml"), strict=True):
        deployment = next(yaml.safe_load_all((ROOT / "manifests" / file).read_text()))
        pod = deployment["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert monitor["spec"]["jobLabel"] in pod["metadata"]["labels"]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports


def test_all_of_the_folder_is_applied_and_only_by_itself() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    [generator] = kustomization["configMapGenerator"]
    named = {*kustomization["resources"], *generator["files"], "kustomization.yaml"}
    assert named == {file.name for file in FOLDER.iterdir()}
    assert "monitoring" not in yaml.safe_load((ROOT / "manifests/kustomization.yaml").read_text())["resources"]
