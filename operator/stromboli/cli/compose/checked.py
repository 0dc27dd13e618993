"""Compose files, checked as the operator checks them: without a cluster, and without looking at images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from stromboli import bounds
from stromboli.cli import exitcodes, tables
from stromboli.compose import selection
from stromboli.compose.stack import Service
from stromboli.errors import ComposeProblem, LocalFailure, NotPermitted, Refused
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.environment import Environment
from stromboli.models.sentences import sentence
from stromboli.observe import hostfiles, stacks
from stromboli.perform.stacks import reading
from stromboli.perform.stacks.prepared import Prepared
from stromboli.plan import policy
from stromboli.plan.policy import Effective, Rules
from stromboli.plan.stack import dependencies, ports
from stromboli.plan.stack.image import Image
from stromboli.reasons import Reason

_PLACES = ("at", "mark", "keys", "mounted_at")
_LISTS = ("List", "AgentPolicyList")
_COLUMNS = ("SERVICE", "IMAGE", "STARTS AFTER", "READY WHEN")


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of the command."""

    files: tuple[Path, ...]
    service: str | None
    profiles: tuple[str, ...]
    variables: Mapping[str, str]
    images: Mapping[str, str]
    policies: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the files mean: as JSON, and as a table; `notices` are about what has no effect."""

    document: dict[str, Any]
    table: str
    notices: tuple[str, ...]


def check(asked: Asked) -> Checked:
    """Raises LocalFailure, with the command's exit code."""
    paths = [path.absolute() for path in asked.files]
    try:
        environment = _environment(asked, paths)
        rules = policy.combine(_rules(asked, paths[0].parent), policy.Base(mount_claude_cli=False))
        found = asyncio.run(_prepared(environment, rules, paths[0].parent.name))
    except ComposeProblem as problem:
        code = exitcodes.NOT_ALLOWED if isinstance(problem, NotPermitted) else 1
        raise LocalFailure(str(problem), code=code) from problem
    except Refused as refusal:
        refused = refusal.reason in (Reason.PolicyViolation, Reason.ImageNotAllowed)
        raise LocalFailure(refusal.message, code=exitcodes.NOT_ALLOWED if refused else 1) from refusal
    return Checked(_document(found), _table(found), found.notices)


async def _prepared(environment: Environment, rules: Effective, name: str) -> Prepared:
    """There is no cluster to read from, since all files are on this machine."""
    project = await stacks.project(cast(Any, None), "", environment, rules, name)
    return await hostfiles.in_time(reading.prepared, project, environment, rules)


def _environment(asked: Asked, paths: Sequence[Path]) -> Environment:
    given: dict[str, Any] = {
        "type": "compose",
        "paths": [str(path) for path in paths],
        "service": asked.service,
        "profiles": list(asked.profiles),
        "env": [{"name": name, "value": value} for name, value in asked.variables.items()],
        "images": dict(asked.images) or None,
    }
    try:
        return Environment.model_validate({key: value for key, value in given.items() if value})
    except ValidationError as e:
        raise LocalFailure(sentence(e), code=2) from e


def _rules(asked: Asked, folder: Path) -> Iterator[Rules]:
    if not asked.policies:
        allowed = {"volumes": {"allowed": [{"path": str(folder)}]}}
        yield Rules("(none given: see --policy)", AgentPolicySpec.model_validate(allowed))
    for manifest in asked.policies:
        for found in _policies(manifest):
            name = str((found.get("metadata") or {}).get("name") or manifest.name)
            try:
                yield Rules(name, AgentPolicySpec.model_validate(found.get("spec") or {}))
            except ValidationError as e:
                raise LocalFailure(f"{manifest}: AgentPolicy {name}: {sentence(e)}", code=2) from e


def _policies(file: Path) -> list[Mapping[str, Any]]:
    """One policy, or those of a list, as `kubectl get -o yaml` prints it."""
    try:
        found = bounds.yaml_document(file.read_bytes(), bounds.DOCUMENT)
    except ValueError as e:
        raise LocalFailure(f"{file} is not the manifest of one object, or of a list of them", code=2) from e
    listed = found.get("items") if isinstance(found, Mapping) and found.get("kind") in _LISTS else [found]
    if not isinstance(listed, list) or not all(map(_is_policy, listed)):
        raise LocalFailure(f"{file} is not the manifest of AgentPolicies", code=2)
    return listed


def _is_policy(found: object) -> bool:
    return isinstance(found, Mapping) and found.get("kind") == "AgentPolicy"


def _document(found: Prepared) -> dict[str, Any]:
    services = {name: _plain(service) for name, service in found.selected.services.items()}
    for name, reference in found.references.items():
        services[name]["image"] = str(reference)
    return {
        "agent": found.selected.agent,
        "services": services,
        "networks": _plain(found.stack.networks),
        "volumes": _plain(found.stack.volumes),
        "notices": list(found.notices),
    }


def _plain(value: object) -> Any:
    """Without places in files, and in terms of JSON."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.name not in _PLACES}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return value


def _table(found: Prepared) -> str:
    rows = [_COLUMNS]
    services = found.selected.services
    awaited = dependencies.completes(services)
    for name, service in services.items():
        agent = name == found.selected.agent
        image = str(found.references.get(name, "(built)"))
        after = ", ".join(f"{one.service} ({one.condition})" for one in selection.needs(service)) or "-"
        ready = "-" if agent else _ready(service, ends=name in awaited)
        rows.append((f"{name} (the agent's)" if agent else name, image, after, ready))
    return tables.table(rows)


def _ready(service: Service, *, ends: bool) -> str:
    if ends:
        return "it has ended with exit code 0"
    test = service.healthcheck.test if service.healthcheck is not None else None
    if test is not None and test[:1] != ("NONE",):
        return "healthy"
    listens = sorted(ports.of(service, Image(id="")))  # those of the file
    if listens:
        return f"listens on {', '.join(map(str, listens[:4]))}" + (" …" if len(listens) > 4 else "")
    return "as its image says: a health check, or a port"
