"""The generated CRDs: as on disk, structural, described, bounded, immutable where they should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.models import crd
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentrun import AgentRunSpec, AgentRunStatus

CRDS = Path(__file__).parents[3] / "crds"
Schema = dict[str, Any]
RUN, SESSION, IMAGE, POLICY = crd.KINDS

# The free-form documents: whatever is in them is kept, and judged when the run begins.
FREE = {
    "spec.claude.jsonSchema",
    "spec.claude.mcpConfigs[]",
    "spec.claude.agents",
    "spec.claude.settings",
    "status.result.structured",
}
# Numbers with or without a fraction, or text: bounded by hand, and judged when the run begins.
QUANTITIES = {
    "spec.resources.cpus",
    "spec.template.resources.cpus",
    "spec.defaults.cpus",
    "spec.limits.cpus",
}
# What a structural schema may not have at all, or has another way of saying (Kubernetes docs, "structural schema").
FORBIDDEN = {"$ref", "$defs", "definitions", "const", "title", "deprecated", "patternProperties", "nullable"}


def _schema(kind: crd.Kind) -> Schema:
    found: Schema = crd.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every node of a schema with its path: `spec.volumes[]`, `spec.matchLabels{}`."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")


def _nodes() -> list[tuple[str, str, Schema]]:
    return [
        (kind.kind, path, node)
        for kind in crd.KINDS
        for path, node in _walk(_schema(kind))
        if path.startswith(("spec", "status"))
    ]


NODES = _nodes()


def every_node(check: Callable[[str, str, Schema], None]) -> Callable[[], None]:
    """One test of all nodes: a thousand of one node each take pytest longer than what they check."""

    def test() -> None:
        assert NODES
        for kind, path, node in NODES:
            check(kind, path, node)

    return test


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda k: k.plural)
def test_the_file_on_disk_is_what_the_models_say(kind: crd.Kind) -> None:
    on_disk = (CRDS / f"{kind.plural}.yaml").read_text(encoding="utf-8")
    assert on_disk == crd.render(kind), "run `make crds`"


def test_there_is_no_other_file() -> None:
    manifests = {p.name for p in CRDS.glob("*.yaml")} - {"kustomization.yaml"}
    assert manifests == {f"{kind.plural}.yaml" for kind in crd.KINDS}


def test_write_writes_each_kind(tmp_path: Path) -> None:
    paths = crd.write(tmp_path)
    assert sorted(p.name for p in paths) == [
        "agentimages.yaml",
        "agentpolicies.yaml",
        "agentruns.yaml",
        "agentsessions.yaml",
    ]
    assert yaml.safe_load(paths[0].read_text()) == crd.crd(RUN)


@every_node
def test_each_field_is_described(kind: str, path: str, node: Schema) -> None:
    if path.endswith(("[]", "{}")):
        return  # what a list holds is said at the list
    assert len(node.get("description", "")) > 5, f"{kind}: {path} has no description"
    assert node["description"].endswith((".", ")")), f"{kind}: {path}: {node['description']}"


@every_node
def test_each_node_is_structural(kind: str, path: str, node: Schema) -> None:
    assert not FORBIDDEN & node.keys(), f"{kind}: {path}"
    free = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
    assert free or "type" in node, f"{kind}: {path} has no type"
    assert not ("properties" in node and "additionalProperties" in node), f"{kind}: {path}"
    assert isinstance(node.get("exclusiveMinimum", True), bool), "OpenAPI 3.0 has exclusive bounds as flags"


def test_only_documents_are_free_form() -> None:
    found = {path for _, path, node in NODES if node.get("x-kubernetes-preserve-unknown-fields")}
    assert found == FREE | QUANTITIES
    bounds = {"maxLength", "maxItems", "maxProperties", "minimum"}
    assert all(node.keys() >= bounds for _, path, node in NODES if path in QUANTITIES)


@every_node
def test_each_string_list_and_map_is_bounded(kind: str, path: str, node: Schema) -> None:
    """Without a bound the rules exceed CEL's cost limit, or the API server's patience."""
    if path in FREE:
        return
    if node.get("type") == "string" or node.get("x-kubernetes-int-or-string"):
        assert "enum" in node or 0 < node["maxLength"] <= 1024 * 1024, f"{kind}: {path}"
    if node.get("type") == "array":
        assert 0 < node["maxItems"] <= 1024, f"{kind}: {path}"
    if "additionalProperties" in node:
        assert 0 < node["maxProperties"] <= 1024, f"{kind}: {path}"


@every_node
def test_lists_say_how_they_merge(kind: str, path: str, node: Schema) -> None:
    if node.get("type") != "array":
        assert "x-kubernetes-list-type" not in node
        return
    merge = node["x-kubernetes-list-type"]
    assert merge in ("atomic", "map", "set"), f"{kind}: {path}"
    for key in node.get("x-kubernetes-list-map-keys", ()):
        assert merge == "map"
        assert key in node["items"]["required"], f"{kind}: {path}: a key that may be missing"


@pytest.mark.parametrize("path", ["spec.env", "status.conditions", "status.attempts"])
def test_what_is_known_by_a_name_merges_by_it(path: str) -> None:
    node = next(n for k, p, n in NODES if k == "AgentRun" and p == path)
    assert node["x-kubernetes-list-type"] == "map"


@every_node
def test_each_rule_has_a_message_for_a_person(kind: str, path: str, node: Schema) -> None:
    for rule in node.get("x-kubernetes-validations", []):
        assert set(rule) - {"messageExpression"} == {"rule", "message"}, f"{kind}: {path}"
        assert len(rule["message"]) > 20, f"{kind}: {path}: {rule['message']}"
        assert "\n" not in rule["message"]
        assert rule["rule"].count("'") % 2 == 0


# --- immutability ---


CONTROLS = {"suspend", "cancel", "ttlSecondsAfterFinished"}


def test_each_field_of_a_run_is_immutable_but_those_that_control_it() -> None:
    spec = _schema(RUN)["properties"]["spec"]
    rules = {r["rule"] for r in spec["x-kubernetes-validations"]}
    assert set(spec["properties"]) > CONTROLS
    for name in set(spec["properties"]) - CONTROLS:
        expected = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
        assert expected in rules, name


def test_the_rules_of_immutability_name_their_field() -> None:
    for rule in _schema(RUN)["properties"]["spec"]["x-kubernetes-validations"]:
        if "oldSelf" in rule["rule"]:
            name = re.match(r"!?has\((?:self|oldSelf)\.(\w+)\)", rule["rule"])
            assert name is not None
            how = "taken back" if name[1] == "cancel" else "changed"
            assert rule["message"].startswith(f"{name[1]} cannot be {how}")


def test_a_policy_can_be_changed() -> None:
    assert "oldSelf" not in crd.render(POLICY)


def test_prompt_and_prompt_from_exclude_each_other() -> None:
    rules = [r["rule"] for r in _schema(RUN)["properties"]["spec"]["x-kubernetes-validations"]]
    assert "has(self.prompt) != has(self.promptFrom)" in rules


# --- the shell of a CRD ---


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda k: k.plural)
def test_names_scope_and_category(kind: crd.Kind) -> None:
    whole = crd.crd(kind)
    assert whole["metadata"]["name"] == f"{kind.plural}.stromboli.dev"
    assert whole["spec"]["names"]["categories"] == ["stromboli"]
    assert whole["spec"]["names"]["listKind"] == f"{kind.kind}List"
    contract = {
        "AgentRun": ("Namespaced", "arun"),
        "AgentSession": ("Namespaced", "asess"),
        "AgentImage": ("Namespaced", "aimg"),
        "AgentPolicy": ("Cluster", "apol"),
    }
    assert (whole["spec"]["scope"], *whole["spec"]["names"]["shortNames"]) == contract[kind.kind]


def test_a_sessions_template_can_be_filled_once_and_a_run_is_found_by_its_session() -> None:
    said = [r["rule"] for r in _schema(SESSION)["properties"]["spec"]["x-kubernetes-validations"]]
    assert said == [
        "has(self.forkedFrom) == has(oldSelf.forkedFrom) && "
        "(!has(self.forkedFrom) || self.forkedFrom == oldSelf.forkedFrom)",
        "!has(oldSelf.template) || (has(self.template) && self.template == oldSelf.template)",
    ]
    paths = [field["jsonPath"] for field in crd.crd(RUN)["spec"]["versions"][0]["selectableFields"]]
    assert paths == [".spec.session.name", ".spec.session.fork"]


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda k: k.plural)
def test_each_kind_has_a_status_subresource_and_begins_unobserved(kind: crd.Kind) -> None:
    version = crd.crd(kind)["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    assert _schema(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_printer_columns_in_the_promised_order() -> None:
    columns = crd.crd(RUN)["spec"]["versions"][0]["additionalPrinterColumns"]
    narrow = [c["name"] for c in columns if "priority" not in c]
    assert narrow == ["Succeeded", "Reason", "Image", "Age", "Duration"]
    assert {"Input", "Output", "Cost"} <= {c["name"] for c in columns if c.get("priority") == 1}


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda k: k.plural)
def test_printer_columns_print_fields_that_exist(kind: crd.Kind) -> None:
    known = {path for k, path, _ in NODES if k == kind.kind}
    for column in crd.crd(kind)["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".")
        path = re.sub(r"\[\?\(@\.type==.*?\)\]|\[0\]", "[]", path)
        assert path in known or path == "metadata.creationTimestamp", column


def test_quantities_are_int_or_string() -> None:
    memory = next(n for k, p, n in NODES if k == "AgentRun" and p == "spec.resources.memory")
    assert memory["x-kubernetes-int-or-string"] is True
    assert memory["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert "type" not in memory


def test_an_exclusive_minimum_is_translated() -> None:
    budget = next(n for _, p, n in NODES if p == "spec.claude.maxBudgetUSD")
    assert (budget["minimum"], budget["exclusiveMinimum"]) == (0, True)


def test_nothing_is_an_alias_in_the_yaml() -> None:
    for kind in crd.KINDS:
        assert not re.search(r"(?m)[:-] [&*][A-Za-z]", crd.render(kind))


@pytest.mark.parametrize("model", [AgentRunSpec, AgentRunStatus, AgentPolicySpec])
def test_all_fields_of_the_model_are_in_the_schema(model: type) -> None:
    kind = POLICY if model is AgentPolicySpec else RUN
    part = "status" if model is AgentRunStatus else "spec"
    fields = {f.alias for f in model.model_fields.values()}  # type: ignore[attr-defined]
    assert fields == set(_schema(kind)["properties"][part]["properties"])
