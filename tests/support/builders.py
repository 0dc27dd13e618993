"""Specs, policies and objects as tests need them: a sound one each, and modifiers that make it another.

run(named("b"), at_version(7), having(image="python:3.13"), at(Reason.Running))
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from stromboli.kube import objects
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.claude import ClaudeOptions
from stromboli.models.run import Run, RunStatus
from stromboli.plan import policy as policies
from stromboli.plan.attempt import EndRecord, Records
from stromboli.plan.policy import Base, Effective, Rules
from stromboli.plan.redaction import Secrets
from stromboli.reasons import Reason
from stromboli.status import run as run_status
from stromboli.status.run import Moment

Object = dict[str, Any]
Modifier = Callable[[Object], Object]

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
UID = "7f1c2c2e-0000-4000-8000-000000000001"
CLI_IMAGE = "registry.example/claude"
NOTHING_SECRET = Secrets(())


# --- what the operator reads ---


def spec(**fields: Any) -> AgentRunSpec:
    """A run's typed spec: a prompt in python:3.12 unless told otherwise; a field of None is left out."""
    return AgentRunSpec.model_validate(_given({"prompt": "say hello", "image": "python:3.12"} | fields))


def claude(**fields: Any) -> ClaudeOptions:
    """Options of the CLI, none by default; names as on the wire."""
    return ClaudeOptions.model_validate(fields)


def policy(name: str = "base", **fields: Any) -> Rules:
    """An AgentPolicy by name; names as on the wire."""
    return Rules(name, AgentPolicySpec.model_validate(fields))


def base(**fields: Any) -> Base:
    """The operator's settings, which say nothing but where the CLI comes from."""
    return Base(**({"cli_image": CLI_IMAGE} | fields))


def effective(*found: Rules, **settings: Any) -> Effective:
    """What these policies and settings come to."""
    return policies.combine(found, base(**settings))


# --- objects as they stand on the wire ---


def run(*modifiers: Modifier) -> Object:
    """An AgentRun that nobody has seen yet."""
    obj: Object = {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {
            "name": "a",
            "namespace": "team",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-31T12:00:00Z",
        },
        "spec": {"prompt": "say hello", "image": "python:3.12"},
    }
    for modify in modifiers:
        obj = modify(copy.deepcopy(obj))
    return obj


def read(*modifiers: Modifier) -> Run:
    """The same, as it is read from the cluster."""
    return objects.run(run(*modifiers))


def named(name: str) -> Modifier:
    return _metadata(name=name)


def of_uid(uid: str) -> Modifier:
    return _metadata(uid=uid)


def at_version(version: int | str) -> Modifier:
    return _metadata(resourceVersion=str(version))


def having(**fields: Any) -> Modifier:
    """Fields of the spec; None takes one out."""
    return lambda obj: {**obj, "spec": _given(obj["spec"] | fields)}


def at(reason: Reason, message: str = "so it is") -> Modifier:
    """The run has come to `reason`, at noon."""
    return lambda obj: {**obj, "status": _at(RunStatus.of(obj.get("status")), reason, message)}


def _at(status: RunStatus, reason: Reason, message: str) -> Mapping[str, Any]:
    return run_status.at(status, reason, message, moment()).wire


def moment(seconds: float = 0.0, *, node: str = "node-1", generation: int = 1) -> Moment:
    """So many seconds after noon."""
    return Moment(NOON + timedelta(seconds=seconds), node, generation)


# --- what an attempt leaves behind ---


def result_event(**fields: Any) -> bytes:
    """The CLI's last line of stream-json, as 2.1.331 wrote it; a field of None is left out."""
    event = {
        "duration_api_ms": 43,
        "stop_reason": "end_turn",
        "session_id": "11111111-2222-4333-8444-555555555555",
        "total_cost_usd": 0.00019999999999999998,
        "usage": {
            "input_tokens": 11,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 5,
            "output_tokens": 7,
            "server_tool_use": {"web_search_requests": 0},
        },
        "permission_denials": [],
        "is_error": False,
        "num_turns": 1,
        "subtype": "success",
        "result": "hi ✓",
        "type": "result",
        "duration_ms": 117,
    }
    return json.dumps(_given(event | fields), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def records(**fields: Any) -> Records:
    """An attempt that was sent and ended well; `end` may be None."""
    whole: dict[str, Any] = {
        "started": True,
        "sent": True,
        "steps": (),
        "end": end(),
        "stdout": result_event(),
        "stderr_tail": "",
    }
    return Records(**(whole | fields))


def end(**fields: Any) -> EndRecord:
    """The supervisor's last word: completed, with 0."""
    whole: dict[str, Any] = {"cause": "completed", "exit_code": 0, "oom": False, "at": NOON}
    return EndRecord(**(whole | fields))


def _metadata(**fields: Any) -> Modifier:
    return lambda obj: {**obj, "metadata": obj["metadata"] | fields}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}
