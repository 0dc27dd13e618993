"""Generates the CustomResourceDefinitions from the pydantic models (`make crds`; a test fails if they differ).

A structural schema is a dialect of JSON Schema (Kubernetes docs: "Extend the Kubernetes API with
CustomResourceDefinitions", section "Specifying a structural schema"): no $ref, no null, OpenAPI's exclusive bounds,
and no additionalProperties beside properties. The functions below translate, one feature each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from stromboli.models.agentimage import AgentImageSpec, AgentImageStatus
from stromboli.models.agentpolicy import AgentPolicySpec, AgentPolicyStatus
from stromboli.models.agentrun import AgentRunSpec, AgentRunStatus
from stromboli.models.agentsession import AgentSessionSpec, AgentSessionStatus
from stromboli.naming import GROUP, VERSION
from stromboli.reasons import ConditionType, ImageCondition, PolicyCondition, RunCondition, SessionCondition

Schema = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """No anchors and aliases: repeated content is written repeatedly."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column; `wide` ones only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """Everything that a CRD needs besides its models."""

    kind: str
    plural: str
    short: str
    scope: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    immutable: bool = False  # every field of the spec but those of `mutable`
    mutable: tuple[str, ...] = ()
    final: tuple[str, ...] = ()  # flags of the spec that cannot be taken back
    fixed: tuple[str, ...] = ()  # fields of the spec that cannot be changed after creation
    once: tuple[str, ...] = ()  # fields of the spec that can be set once
    selectable: tuple[str, ...] = ()  # paths that a field selector can name (Kubernetes 1.31)


def _condition(type_: ConditionType, key: str = "status", name: str = "") -> Column:
    """A column with one field of a condition, named after the condition unless a name is given."""
    return Column(name or type_.value, f'.status.conditions[?(@.type=="{type_}")].{key}')


AGE = Column("Age", ".metadata.creationTimestamp", "date")

KINDS = (
    Kind(
        "AgentRun",
        "agentruns",
        "arun",
        "Namespaced",
        "One prompt, run once by Claude Code in one image.",
        AgentRunSpec,
        AgentRunStatus,
        immutable=True,
        mutable=("suspend", "cancel", "ttlSecondsAfterFinished"),
        final=("cancel",),
        selectable=(".spec.session.name", ".spec.session.fork"),
        columns=(
            _condition(RunCondition.Succeeded),
            _condition(RunCondition.Succeeded, "reason", "Reason"),
            Column("Image", ".status.image.reference"),
            AGE,
            Column("Duration", ".status.duration"),
            Column("Turns", ".status.usage.turns", "integer", wide=True),
            Column("Input", ".status.usage.inputTokens", "integer", wide=True),
            Column("Output", ".status.usage.outputTokens", "integer", wide=True),
            Column("Cost", ".status.usage.costUSD", "number", wide=True),
            Column("Session", ".spec.session.name", wide=True),
        ),
    ),
    Kind(
        "AgentSession",
        "agentsessions",
        "asess",
        "Namespaced",
        "What outlives a run: a conversation, and the container with everything that was installed in it.",
        AgentSessionSpec,
        AgentSessionStatus,
        fixed=("forkedFrom",),
        once=("template",),
        columns=(
            Column("Title", ".spec.title"),
            Column("Image", ".spec.template.image"),
            Column("Runs", ".status.runs", "integer"),
            Column("Last Used", ".status.lastUsed", "date"),
            _condition(SessionCondition.Ready),
            AGE,
            Column("Run", ".status.currentRun.name", wide=True),
            Column("Bytes", ".status.sizeBytes", "integer", wide=True),
            Column("Conversation", ".status.claudeSessionID", wide=True),
        ),
    ),
    Kind(
        "AgentImage",
        "agentimages",
        "aimg",
        "Namespaced",
        "An image that the runs of a namespace may use: it is pulled, inspected, and kept on the node.",
        AgentImageSpec,
        AgentImageStatus,
        fixed=("image",),
        columns=(
            Column("Image", ".spec.image"),
            _condition(ImageCondition.Ready),
            _condition(ImageCondition.Compatible),
            Column("Rank", ".status.rank", "integer"),
            Column("Libc", ".status.summary.libc"),
            Column("Tools", ".status.summary.tools"),
            Column("Size", ".status.summary.size"),
            AGE,
            Column("Digest", ".status.nodes[0].digest", wide=True),
            Column("Node", ".status.nodes[0].name", wide=True),
        ),
    ),
    Kind(
        "AgentPolicy",
        "agentpolicies",
        "apol",
        "Cluster",
        "The administrator's rules and defaults for agents.",
        AgentPolicySpec,
        AgentPolicyStatus,
        columns=(
            _condition(PolicyCondition.Accepted),
            _condition(PolicyCondition.Effective),
            Column("Images", ".spec.images.allowed"),
            Column("Network", ".spec.network"),
            Column("CLI", ".spec.cli.image", wide=True),
            AGE,
        ),
    ),
)


def crd(kind: Kind) -> Schema:
    """The whole CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["stromboli"],
            },
            "versions": [_version(kind)],
        },
    }


def write(folder: Path) -> list[Path]:
    """Write one file per kind; returns the paths."""
    written = []
    for kind in KINDS:
        path = folder / f"{kind.plural}.yaml"
        path.write_text(render(kind), encoding="utf-8")
        written.append(path)
    return written


def render(kind: Kind) -> str:
    """The file's text."""
    head = "# Generated from operator/stromboli/models by `make crds`; edit the models.\n"
    return head + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


def schema(kind: Kind) -> Schema:
    """The structural schema of the kind's objects."""
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": _spec(kind),
    }
    # Until the operator has seen an object, it is "in progress" for kstatus: its generation is not observed.
    properties["status"] = {**_structural(kind.status), "default": {"observedGeneration": -1}}
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": properties,
    }


def _version(kind: Kind) -> Schema:
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(c) for c in kind.columns],
        "subresources": {"status": {}},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    version["schema"] = {"openAPIV3Schema": schema(kind)}
    return version


def _column(column: Column) -> Schema:
    out: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return {**out, "priority": 1} if column.wide else out


def _spec(kind: Kind) -> Schema:
    schema = _structural(kind.spec)
    fixed = [name for name in schema["properties"] if name not in kind.mutable] if kind.immutable else kind.fixed
    added = [_immutable(name) for name in fixed]
    added += [_once(name) for name in kind.once]
    added += [_final(name) for name in kind.final]
    if added:
        schema["x-kubernetes-validations"] = schema.get("x-kubernetes-validations", []) + added
    return schema


def _once(name: str) -> Schema:
    return {
        "rule": f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
        "message": f"{name} cannot be changed once it is set; create another object, or a fork",
    }


def _final(name: str) -> Schema:
    return {
        "rule": f"!has(oldSelf.{name}) || !oldSelf.{name} || (has(self.{name}) && self.{name})",
        "message": f"{name} cannot be taken back; create another object under a new name",
    }


def _immutable(name: str) -> Schema:
    return {
        "rule": f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        "message": f"{name} cannot be changed once the object exists; delete it, or create another under a new name",
    }


def _structural(model: type[BaseModel]) -> Schema:
    document = model.model_json_schema(by_alias=True)
    return _translate(document, document.get("$defs", {}))


def _translate(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Schema:
    schema = _without_null(_resolved(schema, defs), defs)
    out = {k: v for k, v in schema.items() if k not in _DROPPED}
    if "properties" in out:
        out["properties"] = {k: _translate(v, defs) for k, v in out["properties"].items()}
    if "items" in out:
        out["items"] = _translate(out["items"], defs)
        out.setdefault("x-kubernetes-list-type", "atomic")
    if isinstance(extra := schema.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _translate(extra, defs)
    if out.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        out["maxLength"] = 64
    if out.get("type") == "integer":
        out["format"] = "int64"
    if "exclusiveMinimum" in out:
        out["minimum"], out["exclusiveMinimum"] = out["exclusiveMinimum"], True
    return dict(sorted(out.items(), key=lambda item: _ORDER.get(item[0], 50)))


_DROPPED = frozenset({"$defs", "title", "default", "additionalProperties", "anyOf", "$ref", "allOf"})
_ORDER = {
    "type": 0,
    "description": 1,
    "required": 2,
    "properties": 90,
    "items": 91,
    "x-kubernetes-validations": 99,
}


def _resolved(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Schema:
    """Follow a $ref; what is beside it (the field's own description) wins."""
    if "$ref" not in schema:
        return dict(schema)
    name = schema["$ref"].removeprefix("#/$defs/")
    # The schema of a free JSON value refers to itself; in a structural schema it is an empty one.
    target = {} if name == "JsonValue" else _resolved(defs[name], defs)
    return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}


def _without_null(schema: Schema, defs: Mapping[str, Any]) -> Schema:
    """`X | None` becomes an optional X: in Kubernetes, absence is not null."""
    branches = [b for b in schema.get("anyOf", []) if b.get("type") != "null"]
    if len(branches) != 1:
        return schema
    rest = {k: v for k, v in schema.items() if k != "anyOf"}
    return _without_null({**_resolved(branches[0], defs), **rest}, defs)
