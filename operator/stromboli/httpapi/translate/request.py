"""A request to run → the AgentRun that is created for it. Pure.

What could not be run is refused here, by the operator's own checks and in the request's names. What depends on a
policy, or on what is in the cluster, ends the run with a reason instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from stromboli import naming
from stromboli.errors import InvalidInput, Refused
from stromboli.httpapi import secret_names
from stromboli.httpapi.errors import Refusal, invalid
from stromboli.httpapi.shapes.run import ClaudeOptions, Environment, Lifecycle, PodmanOptions, RunRequest
from stromboli.httpapi.translate import fields, units
from stromboli.kube.outline import MAX_SPEC
from stromboli.models import claude as cli
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.environment import NO_SERVICE, SERVICE_NAME
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.plan import policy as policies
from stromboli.plan import request as checks
from stromboli.plan import volumes
from stromboli.plan.admission import admit
from stromboli.plan.policy import Base

Wire = dict[str, Any]
T = TypeVar("T")

# The Secret, and its key, that webhooks are signed with, if it is there.
WEBHOOK_SECRET = {"name": "stromboli-webhook", "key": "secret", "optional": True}
OUTPUT_FORMATS = ("text", "json", "stream-json")

# Options that a run has under the same name, in camelCase.
_SAME = (
    "model",
    "fallback_model",
    "system_prompt",
    "append_system_prompt",
    "allowed_tools",
    "disallowed_tools",
    "permission_mode",
    "dangerously_skip_permissions",
    "include_partial_messages",
    "json_schema",
    "max_budget_usd",
    "max_turns",
    "mcp_configs",
    "strict_mcp_config",
    "agent",
    "agents",
    "add_dirs",
    "plugin_dirs",
    "settings",
    "betas",
    "disable_slash_commands",
    "effort",
)
# Lists of which an empty one means none, which a request writes as a list with an empty string, as the CLI does.
_NONE_OF = ("tools", "setting_sources")
# A namespace without policies: what only a policy decides is not decided here.
_NO_POLICY = policies.combine((), Base(mount_claude_cli=False))
_OF_POLICIES = (checks.volumes_are_allowed, checks.notification_may_go_there)
_CHECKS = tuple(check for check in checks.CHECKS if check not in _OF_POLICIES)


def manifest(
    request: RunRequest,
    *,
    name: str,
    namespace: str,
    session: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Wire:
    """The AgentRun in API form; `session` is its `spec.session`. Raises Refusal."""
    spec = _spec(request, session)
    _check(request, spec)
    metadata: Wire = {"name": name, "namespace": namespace}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": naming.API_VERSION, "kind": Run.KIND, "metadata": metadata, "spec": spec}


def output_format(request: RunRequest) -> str:
    """The form of `output`: one of OUTPUT_FORMATS."""
    return request.claude.output_format or "text"


def _spec(request: RunRequest, session: Mapping[str, str] | None) -> Wire:
    podman = request.podman
    return _given(
        prompt=request.prompt,
        image=podman.image,
        workdir=request.workdir or request.workspace,
        volumes=podman.volumes,
        env=_env(podman),
        lifecycle=_lifecycle(podman.lifecycle),
        environment=_environment(podman.environment),
        session=_session(session),
        claude=_claude(request.claude),
        resources=_resources(podman),
        timeout=_read("podman.timeout", units.timeout, podman.timeout),
        notify=_notify(request.webhook_url),
    )


def _given(**values: Any) -> Wire:
    """Those that say something. An empty list may; see _NONE_OF."""
    return {name: value for name, value in values.items() if value is not None and value != {}}


def _read(field: str, read: Callable[[str], T | None], text: str | None) -> T | None:
    """An amount, in whose place there may be nothing. Raises Refusal."""
    if text is None:
        return None
    try:
        return read(text)
    except InvalidInput as e:
        raise invalid(field, e.message) from e


def _env(podman: PodmanOptions) -> list[Wire] | None:
    found = []
    for variable, secret in (podman.secrets_env or {}).items():
        if not secret_names.is_name(secret):
            raise invalid(
                f"podman.secrets_env.{variable}",
                f"{secret[:80]!r} is not the name of a secret: letters, digits, dots, - and _ only, beginning with a "
                "letter or a digit",
            )
        ref = {"name": secret_names.secret_name(secret), "key": secret_names.KEY}
        found.append({"name": variable, "valueFrom": {"secretKeyRef": ref}})
    return found or None


def _lifecycle(asked: Lifecycle) -> Wire:
    return _given(
        onCreateCommand=asked.on_create_command,
        postCreate=asked.post_create,
        postStart=asked.post_start,
        hooksTimeout=_read("podman.lifecycle.hooks_timeout", units.timeout, asked.hooks_timeout),
    )


def _environment(asked: Environment) -> Wire:
    """A type that is empty means no environment, so nothing else may be said of one.

    No run has a limit for builds of its own: it is checked, and the policies' applies.
    """
    limit = _read("podman.environment.build_timeout", units.timeout, asked.build_timeout)
    if asked.type is None:
        if asked.path or asked.service or limit:
            raise invalid("podman.environment.type", "is missing; write compose, or leave the environment out")
        return {}
    if asked.type != "compose":
        raise invalid("podman.environment.type", f"{asked.type[:80]!r} is not known; write compose")
    if asked.path is None:
        raise invalid("podman.environment.path", "is missing; write the path of a compose file on the node")
    if asked.service is not None and not SERVICE_NAME.fullmatch(asked.service):
        raise invalid("podman.environment.service", f"{asked.service[:80]!r} {NO_SERVICE}")
    return _given(type=asked.type, path=asked.path, service=asked.service)


def _session(session: Mapping[str, str] | None) -> Wire | None:
    if not session:
        return None
    for name in session.values():
        if not naming.is_object_name(name):
            raise invalid(
                "claude.session_id",
                f"{name[:80]!r} is not the name of a session: lower case letters, digits, - and . only, such as a UUID",
            )
    if session.get("fork") == session["name"]:
        raise invalid("claude.session_id", "a session cannot be a fork of itself; leave fork_session out")
    return dict(session)


def _claude(asked: ClaudeOptions) -> Wire:
    for refuse in _REFUSED:
        refuse(asked)
    found = {name: getattr(asked, name) or None for name in _SAME}
    for name in _NONE_OF:
        values = getattr(asked, name)
        found[name] = [] if values == [""] else values
    found["debug"] = True if asked.debug else None
    return _given(**{cli.ClaudeOptions.model_fields[name].alias or name: value for name, value in found.items()})


def _resources(podman: PodmanOptions) -> Wire:
    return _given(
        memory=_read("podman.memory", units.memory, podman.memory),
        cpus=_read("podman.cpus", units.cpus, podman.cpus),
        cpuShares=podman.cpu_shares,
    )


def _notify(url: str | None) -> Wire | None:
    return None if url is None else {"url": url, "secretKeyRef": dict(WEBHOOK_SECRET)}


# --- what no run can do ---


def _input_is_text(asked: ClaudeOptions) -> None:
    match asked.input_format:
        case None | "text":
            return
        case "stream-json":
            raise invalid(
                "claude.input_format",
                "stream-json is a conversation on the CLI's standard input, and a call has one prompt; leave it out, "
                "and go on with resume",
            )
        case other:
            raise invalid("claude.input_format", f"{other[:80]!r} is not known; write text")


def _output_is_known(asked: ClaudeOptions) -> None:
    if asked.output_format not in (None, *OUTPUT_FORMATS):
        raise invalid("claude.output_format", f"{asked.output_format[:80]!r} is not known; write {_or(OUTPUT_FORMATS)}")


def _nothing_is_replayed(asked: ClaudeOptions) -> None:
    if asked.replay_user_messages:
        raise invalid(
            "claude.replay_user_messages",
            "is for messages on the CLI's standard input (input_format stream-json), and a call has one prompt; leave "
            "it out",
        )


def _no_files_are_asked_for(asked: ClaudeOptions) -> None:
    if asked.files:
        raise invalid(
            "claude.files",
            "files of the Claude API cannot be given to a run; mount a folder with podman.volumes instead",
        )


_REFUSED: tuple[Callable[[ClaudeOptions], None], ...] = (
    _input_is_text,
    _output_is_known,
    _nothing_is_replayed,
    _no_files_are_asked_for,
)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


# --- what an AgentRun may not be ---


def _check(request: RunRequest, spec: Wire) -> None:
    """Raises Refusal for what the API server, or the operator whatever the policies are, would refuse."""
    if "image" in spec and "environment" in spec:
        raise invalid("podman.image", "the agent runs in a service of the environment, and in its image; leave it out")
    try:
        typed = AgentRunSpec.model_validate(spec)
        volumes.parse(typed.volumes or ())
        if typed.image is not None:
            admit(typed.image, _NO_POLICY, "spec.image")
        for check in _CHECKS:
            check(typed, _NO_POLICY)
    except ValidationError as e:
        raise _refused(request, sentence(e)) from e
    except Refused as e:
        raise _refused(request, e.message) from e
    size = len(json.dumps(spec, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_SPEC:
        raise Refusal(
            413, f"the request makes an AgentRun of {size} bytes, and at most {MAX_SPEC} leave room for a status"
        )


def _refused(request: RunRequest, said: str) -> Refusal:
    field, why = fields.sentence(said, tuple(request.podman.secrets_env or ()))
    return invalid("workspace" if field == "workdir" and request.workdir is None else field, why)
