"""`AgentPolicy`: an administrator's rules and defaults for the namespaces that its selector matches.

How several policies combine is in plan/policy.py.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from stromboli.errors import InvalidInput
from stromboli.grammar import capability
from stromboli.grammar.pattern import PATTERN_RE2
from stromboli.models.agentsession import MAX_SERVICES
from stromboli.models.base import NO_NUL, EnvVar, Model, ObjectName, matches, rules, without_nul
from stromboli.models.conditions import Conditions
from stromboli.models.fields import Duration, ImageRef, MaxBudget, MaxTurns, Memory, Pids, PolicyCpus
from stromboli.models.notify import NotifyRules

Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=matches(
            PATTERN_RE2,
            "is not an image pattern: write an image reference in which * ? and [...] stand for letters, and ** for "
            "any number of path segments, such as python:* or ghcr.io/myorg/**",
        ),
    ),
]
LabelValue = Annotated[str, Field(max_length=63)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]


class PullPolicy(StrEnum):
    """When an image is pulled, with the values that Kubernetes uses."""

    IfNotPresent = "IfNotPresent"
    Always = "Always"
    Never = "Never"


class Network(StrEnum):
    """The network of agents: the namespace's own bridge network, or none."""

    bridge = "bridge"
    none = "none"


class Operator(StrEnum):
    """The operators of a label selector, as in metav1.LabelSelector."""

    In = "In"
    NotIn = "NotIn"
    Exists = "Exists"
    DoesNotExist = "DoesNotExist"


class Requirement(Model):
    """One expression of a label selector. As in Kubernetes, In and NotIn require values, and the others forbid them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                "give values with In and NotIn, and none with Exists and DoesNotExist",
            )
        )
    )

    key: LabelKey = Field(description="Label key.")
    operator: Operator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: Annotated[list[LabelValue], Field(max_length=64)] | None = Field(None, description="Values for In, NotIn.")


class NamespaceSelector(Model):
    """A label selector over namespaces; empty selects all."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=64)] | None = Field(
        None, description="Labels the namespace must have."
    )
    match_expressions: Annotated[list[Requirement], Field(max_length=64)] | None = Field(
        None, description="Expressions that must hold."
    )


class PullSecretRef(Model):
    """A Secret with credentials for registries."""

    name: ObjectName = Field(description="Name of the Secret.")
    namespace: ObjectName | None = Field(None, description="Its namespace (default: the operator's).")


# The operator still reads an empty list, as no list: one may be stored from before this rule.
_NOT_EMPTY = (
    "size(self) > 0",
    "is empty, which says neither all nor none; leave allowed out to allow every image, or name the images, such as "
    "python:*",
)


class ImageRules(Model):
    """Which images may run."""

    allowed: Annotated[list[Pattern], Field(max_length=128, json_schema_extra=rules(_NOT_EMPTY))] | None = Field(
        None,
        description=(
            "Patterns of allowed images, such as `python:*`. Without the field every image is allowed; an empty list, "
            "which could be read either way, is refused."
        ),
    )
    require_digest: bool = Field(False, description="Only references that name a digest.")
    pull_policy: PullPolicy | None = Field(None, description="When images are pulled (default IfNotPresent).")
    pull_secrets: Annotated[list[PullSecretRef], Field(max_length=16)] | None = Field(
        None,
        description=(
            "Secrets with credentials for registries (`kubernetes.io/dockerconfigjson`), for the images of all these "
            "namespaces and for the CLI's. Those of all policies of a namespace are used."
        ),
    )


_CLI_PATH = rules(
    ("!self.startsWith('/')", "begins with a /; write the path inside the CLI image without it, such as bin/claude"),
    NO_NUL,
)


class CLISource(Model):
    """Where the Claude CLI comes from."""

    image: ImageRef | None = Field(None, description="The CLI image's name; it may have a digest.")
    tag: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] | None = Field(
        None, description="Its tag."
    )
    pull: PullPolicy | None = Field(None, description="When it is pulled (default IfNotPresent).")
    mount: bool | None = Field(None, description="Mount it at /opt/claude (default); false: images bring their own.")
    path: Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=_CLI_PATH), without_nul] | None = Field(
        None, description="Path of the CLI inside its image (default bin/claude)."
    )


class Defaults(Model):
    """Values for runs that do not set their own."""

    image: ImageRef | None = Field(None, description="Image for runs that name none.")
    memory: Memory | None = Field(None, description="Memory limit for runs that set none.")
    cpus: PolicyCpus | None = Field(None, description="CPU limit for runs that set none.")
    timeout: Duration | None = Field(None, description="Timeout for runs that set none.")
    ttl: Duration | None = Field(
        None, description="Time after its end until a run is deleted, for runs without ttlSecondsAfterFinished."
    )


class Limits(Model):
    """The limits of what a run may ask for; a run that sets no value gets the default, or else the limit."""

    memory: Memory | None = Field(None, description="Maximum memory of a run.")
    cpus: PolicyCpus | None = Field(None, description="Maximum CPUs of a run.")
    pids: Pids | None = Field(None, description="Maximum number of processes and threads of a run.")
    timeout: Duration | None = Field(None, description="Longest timeout of a run.")
    max_turns: MaxTurns | None = Field(None, description="Maximum number of turns of a run.")
    max_budget_usd: MaxBudget | None = Field(
        None, alias="maxBudgetUSD", description="Maximum amount in US dollars that a run may spend on API calls."
    )


class AllowedVolume(Model):
    """A host folder that runs may mount, including everything below it."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            json_schema_extra=rules(
                (r"self.matches(r'^/[^:]*$')", "is not an absolute path without a colon"),
                (r"!self.matches(r'(^|/)\.\.(/|$)')", "has a .. in it; write the path that is meant"),
                (
                    r"!self.matches(r'[*?\[]')",
                    "must be a path, not a pattern; name a folder, and everything below it is allowed",
                ),
            ),
        ),
    ] = Field(description="Absolute path on the node; everything below it is allowed too. Not a pattern.")
    read_only: bool = Field(False, description="Only `ro` mounts.")


class VolumeRules(Model):
    """Which host folders may be mounted."""

    allowed: Annotated[list[AllowedVolume], Field(max_length=256)] = Field(
        default_factory=list,
        description="Allowed folders; an empty list allows no host path, whatever other policies allow.",
    )


def _capability(text: str) -> str:
    try:
        return capability.parse(text)
    except InvalidInput as e:
        raise ValueError(e.message) from e


Capability = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        json_schema_extra=rules((f"self.upperAscii().matches(r'{capability.UPPER_CASE_RE2}')", capability.MEANT)),
    ),
    AfterValidator(_capability),
]


class ComposePolicy(Model):
    """What stacks of services may do. Of several policies that state a field, the strictest applies."""

    enabled: bool | None = Field(
        None,
        description="Whether runs may have an `environment` (default true: its images and host folders have to be "
        "allowed like those of a run, and the fields below allow nothing by default).",
    )
    allow_privileged: bool | None = Field(
        None,
        description="Whether a service may be `privileged`, which opens the node to it (default false).",
    )
    allow_host_network: bool | None = Field(
        None, description="Whether a service may be on the node's own network (default false)."
    )
    allow_ports: bool | None = Field(
        None,
        description="Whether `ports` are published on the node (default false: they are ignored, and the services "
        "reach each other all the same).",
    )
    allow_build: bool | None = Field(
        None,
        description="Whether images may be built (default false). A service with both `image` and `build` then uses "
        "its image.",
    )
    capabilities: Annotated[list[Capability], Field(max_length=64)] | None = Field(
        None,
        description="Capabilities that services may add to Podman's default ones, such as NET_ADMIN; ALL stands for "
        "all of them. Default: none. Of several policies, what all of them list.",
    )
    health_timeout: Duration | None = Field(
        None, description="How long services may take to become ready (default 5m)."
    )
    build_timeout: Duration | None = Field(None, description="How long building an image may take (default 15m).")
    idle_ttl: Duration | None = Field(
        None,
        alias="idleTTL",
        description="How long a session's stack keeps running after the end of its last run (default 30m).",
    )
    max_services: Annotated[int, Field(ge=1, le=MAX_SERVICES)] | None = Field(
        None, description="How many services a stack may have, without those that are off by profile (default 64)."
    )


class SecretRef(Model):
    """A Secret that holds Claude's credentials."""

    name: ObjectName = Field(description="Name of the Secret.")
    namespace: ObjectName | None = Field(None, description="Its namespace (default: the operator's).")


class Credentials(Model):
    """Claude's credentials: keys ANTHROPIC_API_KEY, CLAUDE_CODE_OAUTH_TOKEN or .credentials.json."""

    secret_ref: SecretRef = Field(description="The Secret.")


class AgentPolicySpec(Model):
    """Rules and defaults. All policies that match a namespace apply together."""

    namespace_selector: NamespaceSelector | None = Field(
        None, description="Namespaces that the policy applies to; absent or empty: all."
    )
    images: ImageRules | None = Field(None, description="Which images may run.")
    cli: CLISource | None = Field(None, description="Where the Claude CLI comes from.")
    defaults: Defaults | None = Field(None, description="Values for runs that do not set their own.")
    limits: Limits | None = Field(
        None, description="Limits: a run that asks for more is refused. Of several policies, the lowest limit applies."
    )
    volumes: VolumeRules | None = Field(None, description="Which host folders may be mounted.")
    compose: ComposePolicy | None = Field(None, description="What stacks of services (`environment`) may do.")
    notify: NotifyRules | None = Field(None, description="Where notifications of runs' ends (`spec.notify`) may go.")
    network: Network | None = Field(None, description="bridge (a network for each namespace) or none.")
    env: Annotated[list[EnvVar], Field(max_length=256)] | None = Field(
        None,
        description=(
            "Variables for every agent: a gateway's base URL, a proxy; nothing secret, since people may read policies. "
            "The folder of the node's socket that ANTHROPIC_UNIX_SOCKET names is mounted into every agent, and the "
            "variable then names it there; it has to be the socket's own."
        ),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    credentials: Credentials | None = Field(None, description="Claude's credentials.")
    history_limit: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None,
        description="How many finished runs each namespace keeps; beyond that, those that ended first are deleted. Of "
        "several policies, the lowest limit applies.",
    )


class AgentPolicyStatus(Model):
    """The operator's verdict on the policy."""

    observed_generation: int = Field(0, description="Generation of the spec that was processed.")
    conditions: Conditions = Field(
        default_factory=list,
        description=(
            "Accepted: the policy can be read; one that cannot stops every run. Effective: neither it nor another "
            "policy keeps a part of it from having an effect; the message says what does."
        ),
    )
