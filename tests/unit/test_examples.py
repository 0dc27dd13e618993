"""examples/ can be applied folder by folder, as anybody would: kubectl takes the files in the order of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.models.agentrun import AgentRunSpec

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
BEFORE_A_RUN = ("Namespace", "AgentPolicy")  # a ConfigMap may come later: it is waited for


@pytest.mark.parametrize("folder", sorted(EXAMPLES.iterdir()), ids=lambda folder: str(folder.name))
def test_what_a_run_needs_comes_before_it(folder: Path) -> None:
    kinds = [str(obj["kind"]) for obj in _applied(folder)]
    first = kinds.index("AgentRun")
    assert not set(kinds[first:]) & set(BEFORE_A_RUN), kinds


def test_runs_are_valid() -> None:
    runs = [obj for folder in EXAMPLES.iterdir() for obj in _applied(folder) if obj["kind"] == "AgentRun"]
    assert [AgentRunSpec.model_validate(run["spec"]) for run in runs]


@pytest.mark.parametrize("folder", sorted(EXAMPLES.iterdir()), ids=lambda folder: str(folder.name))
def test_nothing_in_it_needs_root_or_a_folder_that_only_root_can_make(folder: Path) -> None:
    for obj in _applied(folder):
        if obj["kind"] == "AgentRun":
            path = obj["spec"].get("environment", {}).get("path")
            for place in [*obj["spec"].get("volumes", []), *([path] if path else [])]:
                assert place.startswith("/tmp/"), place


def _applied(folder: Path) -> list[dict[str, Any]]:
    if (kustomization := folder / "kustomization.yaml").exists():
        files = [folder / name for name in yaml.safe_load(kustomization.read_text())["resources"]]
    else:
        files = sorted(folder.glob("*.yaml"))
    return [yaml.safe_load(file.read_text()) for file in files]
