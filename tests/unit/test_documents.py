"""README, docs/ and CHANGELOG say what the code says, link to what is there, and show commands that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from stromboli import settings
from stromboli.cli.app import app
from stromboli.compose import keys
from stromboli.models import reference
from stromboli.models.agentimage import AgentImageSpec
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentrun import MAX_RETRIES, AgentRunSpec, RetryReason
from stromboli.models.run import DEFAULT_GRACE
from stromboli.plan import follow, outcome, retry
from stromboli.plan.attempt import CONTINUE
from stromboli.reasons import CompatibleReason, PresentReason
from tests.support.documents import DOCUMENTS, ROOT, blocks, objects

PACKAGE = ROOT / "operator/stromboli"
TEXTS = {path.name: path.read_text() for path in DOCUMENTS}
README, INTERNALS = TEXTS["README.md"], TEXTS["internals.md"]
MODELS: dict[str, type[BaseModel]] = {
    "AgentRun": AgentRunSpec,
    "AgentPolicy": AgentPolicySpec,
    "AgentImage": AgentImageSpec,
}


def test_the_reference_is_generated() -> None:
    assert (ROOT / reference.PATH).read_text() == reference.as_markdown(), "run `make crds`"


@pytest.mark.parametrize("name", [keys.PATH, keys.README])
def test_the_table_of_compose_keys_is_generated(name: str) -> None:
    document = (ROOT / name).read_text()
    assert keys.BEGIN in document
    assert document == keys.inserted(name, document), "run `make crds`"


def test_the_reference_has_every_variable_that_the_code_reads() -> None:
    read = re.findall(r'environ(?:\.get\(|\[)"(\w+)"', (PACKAGE / "settings.py").read_text())
    named = {name for name in read if name.startswith("STROMBOLI_") or name == "CONTAINER_HOST"}
    assert named <= set(settings.ENVIRONMENT)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 240


def test_no_line_is_too_wide_to_review() -> None:
    wide = [
        f"{path.name}:{number}"
        for path in DOCUMENTS
        if path.name != "reference.md"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 132 and not line.startswith("|")
    ]
    assert wide == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text()), target


def _anchors(text: str) -> set[str]:
    """As GitHub makes them of headings: lower case, spaces as dashes, punctuation left out."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_promise_about_endings_has_tests_that_exist() -> None:
    rows = README.split("| Promise | Tests |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    assert len(rows) > 10
    for row in rows:
        _, promise, tests, _ = row.split("|")
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
        assert named, promise
        assert len(named) == len(tests.split("<br>")), promise
        for path, name in named:
            assert name in _functions(ROOT / "tests" / path), f"{path}::{name}"


def _functions(module: Path) -> set[str]:
    found = ast.parse(module.read_text()).body
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_guide_to_endings_says_what_the_code_does() -> None:
    text = TEXTS["endings.md"]
    assert f"\n> {CONTINUE}\n" in text
    [named] = re.findall(r"\*\*For the reasons in `retryOn`\*\*(.*?)\n\n", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", named)) == {str(reason) for reason in RetryReason}
    limit = f"**How many.** `backoffLimit` (default {follow.MAX_ATTEMPTS - 1}, at most {MAX_RETRIES})"
    delay = f"**When.** {retry.FIRST:.0f} seconds after the first attempt, {2 * retry.FIRST:.0f} after the second"
    most = f"at most {retry.LONGEST / 60:.0f} minutes, each with up to {retry.JITTER:.0%}".replace("%", " %")
    assert [words for words in (limit, delay, most) if words not in text] == []
    assert f"`terminationGracePeriod` (default {DEFAULT_GRACE:.0f}s)" in text
    assert f"{follow.KILL_AFTER - DEFAULT_GRACE:.0f} seconds after `timeout` and the grace" in text
    assert outcome.MAX_RETRY_AFTER.days == 7
    assert "within seven days" in text


def test_its_manifests_are_valid() -> None:
    found = [obj for path in DOCUMENTS for block in blocks(path) for obj in objects(block)]
    assert {str(obj["kind"]) for obj in found} >= set(MODELS)
    for obj in found:
        if model := MODELS.get(obj["kind"]):
            model.model_validate(obj["spec"])


def test_every_package_and_module_is_on_the_map() -> None:
    found = [f"{p.name}/" if p.is_dir() else p.name for p in PACKAGE.iterdir() if not p.name.startswith("__")]
    assert [name for name in found if f"`{name}`" not in INTERNALS] == []


def test_every_file_that_the_map_names_is_there() -> None:
    rows = INTERNALS.split("| To change | Open |")[1].split("\n\n")[0]
    named = [word for word in rows.replace("`", " ").split() if word.endswith((".py", ".sh"))]
    assert named
    assert [name for name in named if not (PACKAGE / name).exists()] == []


def test_troubleshooting_has_every_reason_for_which_an_image_is_not_ready_or_not_compatible() -> None:
    reasons = [reason for kind in (PresentReason, CompatibleReason) for reason in kind if reason.status != "True"]
    assert len(reasons) > 5
    assert [reason for reason in reasons if f"`{reason}`" not in TEXTS["troubleshooting.md"]] == []


def test_every_command_of_stromboli_that_they_name_is_there() -> None:
    """Those in the text as well; the ones in scripts are typed by the end-to-end tests."""
    named = [m.groups() for text in TEXTS.values() for m in re.finditer(r"stromboli ([a-z]+)((?: --[a-z-]+)*)", text)]
    assert {"up", "down", "login"} <= {name for name, _ in named}
    for name, options in named:
        known = {option for param in app.commands[name].params for option in param.opts} | {"--help"}
        assert set(options.split()) <= known, name


def test_every_make_target_that_they_name_is_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {name for text in TEXTS.values() for name in re.findall(r"make (\w+)`", text)}
    assert named
    assert named <= set(targets)
