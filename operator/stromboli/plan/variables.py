"""Environment variables: which ones a spec may set, in any of its fields, and which are withheld from the CLI. Pure.

A spec can set a variable in `spec.env`, and in the `env` objects of the CLI's own documents: `claude.settings`, the
servers of `claude.mcpConfigs`, and those of `claude.agents`. One rule applies to all of them. A document that is given
as the path of a file inside the container cannot be checked here; to override those, and a project's settings, the
policies' variables are also managed settings of the CLI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stromboli import naming
from stromboli.errors import Refused
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.claude import ClaudeOptions
from stromboli.plan import documents
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason

# Options of Node.js that load nothing: limits of memory, certificates, warnings.
_HARMLESS = re.compile(
    r"--(max-old-space-size|max-semi-space-size|max-http-header-size|stack-trace-limit|dns-result-order|tls-min-v[0-9.]+"
    r"|openssl-legacy-provider|use-openssl-ca|use-bundled-ca|use-system-ca|no-warnings|no-deprecation|enable-source-maps"
    r"|unhandled-rejections|trace-warnings|trace-deprecation)(=[A-Za-z0-9.,-]*)?"
)


def loads_code(name: str) -> bool:
    """Whether a variable of that name decides which code a process loads."""
    return name.startswith(naming.LOADER_ENV_PREFIXES) or name in naming.LOADER_ENV


def check(field: str, name: str, value: object, policy: Mapping[str, str]) -> None:
    """A spec may not override the administrator's variables, nor set the operator's, nor those that load code.

    `policy` holds the administrator's. Raises Refused.
    """
    if policy.get(name, value) != value:
        raise Refused(Reason.PolicyViolation, f"{field}: {name} is set by a policy and cannot be changed; leave it out")
    if name in naming.OWN_ENV or name.startswith(naming.OWN_ENV_PREFIX):
        raise invalid(field, f"{name} is set by the operator; choose another name")
    if re.match(naming.SUPERVISOR_ENV_RE2, name):
        raise invalid(
            field, f"{name} begins with _ and a lower-case letter, as the supervisor's names do; choose another name"
        )
    if loads_code(name):
        raise invalid(field, f"{name} changes which code the agent's process loads and may not be set; leave it out")


def documents_set_none_of_others(spec: AgentRunSpec, policy: Effective) -> None:
    """Check the CLI's documents by the rules of `spec.env`."""
    options = spec.claude or ClaudeOptions()
    given = [("spec.claude.settings", options.settings, True), ("spec.claude.agents", options.agents, False)]
    given += [(f"spec.claude.mcpConfigs[{n}]", config, True) for n, config in enumerate(options.mcp_configs or [])]
    for field, document, may_be_a_path in given:
        for where, name, value in _variables(documents.mapping(document, field, path=may_be_a_path), field):
            check(where, name, value, policy.env)


def withheld(environ: Iterable[str]) -> tuple[str, ...]:
    """Names of an image's variables (`NAME=value` each) that the CLI must not have, in order.

    In an image they are meant for its own programs; the CLI's runtime would load other code because of them, wait for
    a debugger or exit. Variables that images commonly set and that do not harm the CLI are kept.
    """
    given = (entry.partition("=") for entry in environ)
    return tuple(sorted({name for name, _, value in given if _disturbs_runtime(name, value)}))


def is_withheld(name: str) -> bool:
    """Whether `withheld` may keep a variable of that name from the CLI: only its own runtime heeds it."""
    return name in naming.RUNTIME_ENV or name.startswith(naming.RUNTIME_ENV_PREFIXES)


def _disturbs_runtime(name: str, value: str) -> bool:
    if name == "NODE_OPTIONS":
        return not all(_HARMLESS.fullmatch(word) for word in value.split())
    return is_withheld(name)


def _variables(document: Mapping[str, Any] | None, field: str) -> Iterator[tuple[str, str, object]]:
    """(field, name, value) of every variable in an `env` object, at any depth; without recursion."""
    left: list[tuple[str, object]] = [(field, document)]
    while left:
        where, value = left.pop()
        if isinstance(value, list):
            left += [(f"{where}[{n}]", item) for n, item in enumerate(value)]
        elif isinstance(value, Mapping):
            left += [(f"{where}.{key}", item) for key, item in value.items()]
            env = value.get("env")
            if isinstance(env, Mapping):
                yield from ((f"{where}.env", name, set_to) for name, set_to in env.items())
