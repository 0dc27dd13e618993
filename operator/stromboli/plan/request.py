"""Combines a run's spec and its namespace's policy into everything that its container needs. Pure.

The image comes first (plan/admission.py). `CHECKS` is the ordered list of the other preconditions, before anything is
looked up on the node; each check is named for what it refuses, and raises Refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from stromboli import naming
from stromboli.errors import InvalidInput, Refused
from stromboli.grammar import receiver, reference
from stromboli.grammar.reference import Reference
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.base import ENV_NAME_PATTERN, KEY_PATTERN
from stromboli.models.claude import ClaudeOptions
from stromboli.models.environment import IMAGE_OF_SERVICE, ONE_SOURCE, Environment
from stromboli.models.lifecycle import Lifecycle
from stromboli.models.sources import NO_FILE_NAME, NO_PREFIX, ONE_KEY, ONE_OBJECT, ONE_VALUE
from stromboli.plan import amounts, documents, limits, mcp, processes, receivers, variables, volumes
from stromboli.plan.admission import admit
from stromboli.plan.attempt import Hook
from stromboli.plan.policy import DEFAULT_TIMEOUT, Effective
from stromboli.plan.refusal import invalid
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason

DEFAULT_PIDS = 2048
GATEWAY_SOCKET = "ANTHROPIC_UNIX_SOCKET"
GATEWAY_URL = "ANTHROPIC_BASE_URL"
_LATER = object()  # in place of a value that is read when the run starts
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to run. Memory in bytes, cpus in thousandths, timeouts in seconds.

    With an environment, `image` is None: it is the service's, which the stack's file names.
    """

    image: Reference | None
    workdir: str | None
    volumes: tuple[Volume, ...]
    env: Mapping[str, str]
    claude: ClaudeOptions
    memory: int | None
    cpus: int | None
    cpu_shares: int | None
    pids: int
    timeout: float
    gateway_socket: str | None
    hooks: tuple[Hook, ...]
    hooks_timeout: float | None
    environment: Environment | None = None


def timeout_of(spec: AgentRunSpec, policy: Effective | None) -> float:
    """The run's timeout in seconds. Raises Refused(InvalidSpec)."""
    if spec.timeout is None:
        return limits.capped(policy.timeout, policy.limits.timeout) if policy else DEFAULT_TIMEOUT
    return _seconds(spec.timeout, "spec.timeout")


def hooks_timeout_of(lifecycle: Lifecycle | None) -> float | None:
    """The time limit of all hooks in seconds; None if it is the run's timeout. Raises Refused(InvalidSpec)."""
    if lifecycle is None or lifecycle.hooks_timeout is None:
        return None
    return _seconds(lifecycle.hooks_timeout, "spec.lifecycle.hooksTimeout")


def hooks_of(lifecycle: Lifecycle | None) -> tuple[Hook, ...]:
    """All hooks, in the order in which they run."""
    given = lifecycle.commands() if lifecycle else {}
    return tuple(Hook(kind, index, text) for kind, texts in given.items() for index, text in enumerate(texts))


def build(spec: AgentRunSpec, policy: Effective) -> Request:
    """Check the spec and combine it with the policy. Raises Refused."""
    image = _image(spec, policy)
    for check in CHECKS:
        check(spec, policy)
    resources = spec.resources
    memory = resources.memory if resources else None
    cpus = resources.cpus if resources else None
    most = policy.limits
    return Request(
        image=image,
        workdir=spec.workdir,
        volumes=volumes.parse(spec.volumes or ()),
        env=_env(spec, policy),
        claude=limits.options(spec.claude or ClaudeOptions(), most),
        memory=limits.granted(policy.memory, most.memory) if memory is None else amounts.memory(memory),
        cpus=limits.granted(policy.cpus, most.cpus) if cpus is None else amounts.cpus(cpus),
        cpu_shares=resources.cpu_shares if resources else None,
        pids=(resources.pids if resources else None) or limits.capped(DEFAULT_PIDS, most.pids),
        timeout=timeout_of(spec, policy),
        gateway_socket=_gateway_socket(policy),
        hooks=hooks_of(spec.lifecycle),
        hooks_timeout=hooks_timeout_of(spec.lifecycle),
        environment=spec.environment,
    )


def _gateway_socket(policy: Effective) -> str | None:
    socket = policy.env.get(GATEWAY_SOCKET)
    return posixpath.normpath(socket) if socket else None


def _env(spec: AgentRunSpec, policy: Effective) -> dict[str, str]:
    """The run's literal variables, overridden by the policy's. A gateway's socket has the path where it is mounted.

    Without a base URL the CLI would speak TLS to the socket; a local one speaks plain HTTP unless told otherwise.
    """
    own = {variable.name: variable.literal for variable in spec.env or []}
    env = {**{name: value for name, value in own.items() if value is not None}, **policy.env}
    if socket := _gateway_socket(policy):
        env[GATEWAY_SOCKET] = f"{naming.LLM_GATEWAY}/{posixpath.basename(socket)}"
        env.setdefault(GATEWAY_URL, "http://gateway")
    return env


def _image(spec: AgentRunSpec, policy: Effective) -> Reference | None:
    """The image's reference, the policy's default included; None with an environment. Raises Refused."""
    if spec.environment is not None:
        if spec.image:
            raise invalid("spec.image", IMAGE_OF_SERVICE)
        return None
    if spec.image:
        return admit(spec.image, policy, "spec.image")
    if policy.image is None:
        raise invalid("spec.image", "names no image, and no policy has a default; write one, such as python:3.12")
    return admit(policy.image, policy, "defaults.image of the policy")


def timeouts_are_sane(spec: AgentRunSpec, policy: Effective) -> None:
    timeout_of(spec, policy)
    hooks_timeout_of(spec.lifecycle)


def prompt_is_given_once(spec: AgentRunSpec, policy: Effective) -> None:
    if (spec.prompt is None) == (spec.prompt_from is None):
        raise invalid("spec", "give exactly one of prompt and promptFrom")
    if spec.prompt is not None:
        documents.check_prompt(spec.prompt, "spec.prompt")
    source = spec.prompt_from
    if source and (source.config_map_key_ref is None) == (source.secret_key_ref is None):
        raise invalid("spec.promptFrom", "give exactly one of configMapKeyRef and secretKeyRef")


def workdir_is_a_place(spec: AgentRunSpec, policy: Effective) -> None:
    if spec.workdir is not None:
        _check_path(spec.workdir, "spec.workdir")


def environment_is_one_that_is_allowed(spec: AgentRunSpec, policy: Effective) -> None:
    """What its file says is checked when it has been read."""
    environment = spec.environment
    if environment is None:
        return
    if why := policy.compose.enabled.refusal:
        raise Refused(Reason.PolicyViolation, f"spec.environment: {why}; use spec.image, or ask an administrator")
    if len(environment.given) != 1:
        raise invalid("spec.environment", ONE_SOURCE)
    if environment.path is not None:
        _check_path(environment.path, "spec.environment.path")
    for n, path in enumerate(environment.paths or ()):
        _check_path(path, f"spec.environment.paths[{n}]")
    for service, image in (environment.images or {}).items():
        _parsed(f"spec.environment.images.{service}", partial(reference.parse, image))


def gateway_is_a_place(spec: AgentRunSpec, policy: Effective) -> None:
    """The socket's folder is mounted, so its path must have one; the node checks its content (plan/llm_gateway.py)."""
    socket = policy.env.get(GATEWAY_SOCKET)
    if not socket:
        return
    if not socket.startswith("/") or socket.endswith("/") or ".." in socket.split("/") or socket.count("/") < 2:
        raise Refused(
            Reason.PolicyViolation,
            f"the policy's env {GATEWAY_SOCKET}: {socket!r} is not the absolute path of a socket in a folder, such "
            "as /srv/gateway/api.sock; an administrator has to correct it",
        )


def volumes_are_allowed(spec: AgentRunSpec, policy: Effective) -> None:
    for volume in volumes.parse(spec.volumes or ()):
        volumes.judge(volume, policy.volumes)


def env_names_are_free(spec: AgentRunSpec, policy: Effective) -> None:
    """The administrator's variables cannot be overridden, and ours cannot be set (naming.OWN_ENV)."""
    seen: set[str] = set()
    for n, variable in enumerate(spec.env or []):
        field = f"spec.env[{n}]"
        if variable.name in seen:
            raise invalid(field, f"{variable.name} is given twice; keep one")
        seen.add(variable.name)
        if not re.fullmatch(ENV_NAME_PATTERN, variable.name):
            raise invalid(
                field,
                f"{variable.name!r} is not a name: letters, digits and _ only, not beginning with a digit",
            )
        # Whatever is read for it later is not what a policy says.
        variables.check(field, variable.name, _LATER if variable.literal is None else variable.literal, policy.env)


def sources_are_given_once(spec: AgentRunSpec, policy: Effective) -> None:
    for n, variable in enumerate(spec.env or []):
        source = variable.value_from
        if source is None:
            continue
        if variable.value is not None:
            raise invalid(f"spec.env[{n}]", ONE_VALUE)
        if (source.secret_key_ref is None) == (source.config_map_key_ref is None):
            raise invalid(f"spec.env[{n}].valueFrom", ONE_KEY)
    for n, each in enumerate(spec.env_from or []):
        if (each.secret_ref is None) == (each.config_map_ref is None):
            raise invalid(f"spec.envFrom[{n}]", ONE_OBJECT)
        if each.prefix and not re.fullmatch(ENV_NAME_PATTERN, each.prefix):
            raise invalid(f"spec.envFrom[{n}].prefix", f"{each.prefix!r} {NO_PREFIX}")
    seen: set[str] = set()
    for n, file in enumerate(spec.secret_files or []):
        field = f"spec.secretFiles[{n}].name"
        if file.name in seen:
            raise invalid(field, f"{file.name} is given twice; keep one")
        seen.add(file.name)
        if file.name in (".", "..") or not re.fullmatch(KEY_PATTERN, file.name):
            raise invalid(field, f"{file.name!r} {NO_FILE_NAME}")


def resources_are_quantities(spec: AgentRunSpec, policy: Effective) -> None:
    resources = spec.resources
    if resources is None:
        return
    if resources.memory is not None:
        memory = resources.memory
        _parsed("spec.resources.memory", lambda: amounts.memory(memory))
    if resources.cpus is not None:
        cpus = resources.cpus
        _parsed("spec.resources.cpus", lambda: amounts.cpus(cpus))


def nothing_is_over_a_ceiling(spec: AgentRunSpec, policy: Effective) -> None:
    limits.check(spec, policy.limits)


def documents_are_json(spec: AgentRunSpec, policy: Effective) -> None:
    options = spec.claude or ClaudeOptions()
    documents.mapping(options.agents, "spec.claude.agents")
    documents.mapping(options.settings, "spec.claude.settings", path=True)
    for n, config in enumerate(options.mcp_configs or []):
        field = f"spec.claude.mcpConfigs[{n}]"
        servers = documents.mapping(config, field, path=True)
        if servers is not None:
            mcp.check(servers, field)
    documents.schema(options.json_schema, "spec.claude.jsonSchema")  # whether it is valid is checked later


def notification_has_a_receiver(spec: AgentRunSpec, policy: Effective) -> None:
    if spec.notify is not None:
        _parsed("spec.notify.url", partial(receiver.parse, spec.notify.url))


def notification_may_go_there(spec: AgentRunSpec, policy: Effective) -> None:
    """What a name stands for is known only when it is sent (perform/notifications/)."""
    if spec.notify is None:
        return
    leads_to = _parsed("spec.notify.url", partial(receiver.parse, spec.notify.url))
    address = receivers.literal(leads_to.host)
    if address is not None and (why := receivers.refusal(address, policy.networks)):
        raise Refused(
            Reason.PolicyViolation,
            f"spec.notify.url: {why}; name a receiver at a public address, or ask an administrator",
        )


Check = Callable[[AgentRunSpec, Effective], None]
CHECKS: tuple[Check, ...] = (
    prompt_is_given_once,
    timeouts_are_sane,
    workdir_is_a_place,
    environment_is_one_that_is_allowed,
    gateway_is_a_place,
    volumes_are_allowed,
    env_names_are_free,
    sources_are_given_once,
    resources_are_quantities,
    nothing_is_over_a_ceiling,
    documents_are_json,
    notification_has_a_receiver,
    notification_may_go_there,
    variables.documents_set_none_of_others,
    processes.arguments_and_variables_fit,
)


def _check_path(path: str, field: str) -> None:
    if not path.startswith("/"):
        raise invalid(field, f"{path!r} is relative; write an absolute path such as /workspace")
    if ".." in path.split("/"):
        raise invalid(field, f"{path!r} has a .. in it; write the path that is meant")
    if "\0" in path:
        raise invalid(field, "has a NUL character in it; take it out")
    if why := volumes.too_long(path):
        raise invalid(field, why)


def _seconds(text: str, field: str) -> float:
    return _parsed(field, lambda: amounts.timeout(text))


def _parsed(field: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except InvalidInput as e:
        raise invalid(field, e.message) from e
