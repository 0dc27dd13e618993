"""The README says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.reasons import as_markdown
from stromboli.settings import DEFAULT_CLI_IMAGE

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_reasons_is_generated() -> None:
    assert as_markdown() in README, f"put this table into the README:\n{as_markdown()}"


@pytest.mark.parametrize("kind", ["AgentRun", "AgentPolicy"])
def test_its_manifests_are_valid(kind: str) -> None:
    blocks = [block.split("```")[0] for block in README.split("```yaml\n")[1:]]
    objects = [obj for obj in map(yaml.safe_load, blocks) if obj["kind"] == kind]
    model = {"AgentRun": AgentRunSpec, "AgentPolicy": AgentPolicySpec}[kind]
    assert objects
    for obj in objects:
        model.model_validate(obj["spec"])


def test_every_room_is_on_the_map() -> None:
    package = ROOT / "operator/stromboli"
    rooms = [p.name for p in package.iterdir() if p.is_dir() and not p.name.startswith("__")]
    assert [room for room in rooms if f"`{room}/`" not in README] == []


def test_every_file_that_it_names_is_there() -> None:
    rows = README.split("| to change | open |")[1].split("\n\n")[0]
    named = [word for word in rows.replace("`", " ").split() if word.endswith((".py", ".sh"))]
    assert named
    assert [name for name in named if not (ROOT / "operator/stromboli" / name).exists()] == []


def test_the_default_cli_image_is_the_one_that_it_names() -> None:
    assert DEFAULT_CLI_IMAGE in README
