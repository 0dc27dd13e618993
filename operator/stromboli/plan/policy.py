"""Several policies → the one that is in effect for a namespace. Pure.

Allowlists are kept apart, each with its owner's name, because each of them must admit an image. Of limits, switches,
`historyLimit` and the rules for stacks (plan/compose_rules.py), the strictest applies. Of networks for notifications,
what all lists have. Values (`cli`, `defaults`, `env`
by name, `credentials`, `pullPolicy`) must agree: if two policies differ, the run is refused with a message that names
both. Of Secrets for pulls, all are used. The operator's settings count as one more allowlist, and are the fallback for
values that no policy sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from stromboli.errors import InvalidInput, Refused
from stromboli.grammar import duration, network, pattern, reference
from stromboli.grammar.pattern import Pattern
from stromboli.grammar.reference import Reference
from stromboli.models.agentpolicy import (
    AgentPolicySpec,
    CLISource,
    Credentials,
    Defaults,
    Network,
    Operator,
    PullPolicy,
    PullSecretRef,
    Requirement,
    SecretRef,
)
from stromboli.plan import amounts, compose_rules, limits
from stromboli.plan.compose_rules import ComposeRules
from stromboli.plan.limits import Limits
from stromboli.plan.receivers import NetworkList
from stromboli.reasons import Reason

SETTINGS = "the operator's settings"
DEFAULT_TIMEOUT = 1800.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """One AgentPolicy: its name and its spec."""

    name: str
    spec: AgentPolicySpec

    @property
    def owner(self) -> str:
        return f"AgentPolicy {self.name}"


@dataclass(frozen=True, slots=True)
class Base:
    """The operator's settings that take part; the same fields as in settings.Settings."""

    allowed_image_patterns: tuple[str, ...] = ()
    allowed_volumes: tuple[str, ...] = ()
    cli_image: str = ""
    cli_image_tag: str = "latest"
    auto_pull_cli: bool = True
    mount_claude_cli: bool = True
    image: str | None = None
    credentials_file: bool = False
    credentials_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Allowlist:
    """Patterns for images, and the policy that they are from."""

    owner: str
    patterns: tuple[Pattern, ...]

    def admits(self, image: Reference) -> bool:
        return any(pattern.matches(image) for pattern in self.patterns)

    def admits_some(self, image: Reference) -> bool:
        """Whether it has a pattern for some images of that repository."""
        return any(pattern.covers_repository(image) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class VolumeList:
    """Allowed folders, each (path, read-only), and the policy that they are from."""

    owner: str
    folders: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class CLI:
    """Where the CLI comes from. `reference` is None if images bring their own."""

    reference: Reference | None
    pull: PullPolicy
    path: str


@dataclass(frozen=True, slots=True)
class Effective:
    """The policy of one namespace. Memory is in bytes, cpus in thousandths, times in seconds.

    `ttl` is the time to live of runs that state none; `history_limit`, how many finished runs the namespace keeps.
    """

    allowlists: tuple[Allowlist, ...]
    require_digest: str | None
    pull_policy: PullPolicy
    cli: CLI
    image: str | None
    memory: int | None
    cpus: int | None
    timeout: float
    limits: Limits
    volumes: tuple[VolumeList, ...]
    network: Network
    env: Mapping[str, str]
    secret: SecretRef | None
    compose: ComposeRules
    pull_secrets: tuple[PullSecretRef, ...] = ()
    ttl: float | None = None
    history_limit: int | None = None
    networks: tuple[NetworkList, ...] = ()


def selects(policy: Rules, labels: Mapping[str, str]) -> bool:
    """Whether the policy's namespaceSelector matches (Kubernetes: label selectors; empty selects all).

    Raises Refused(PolicyViolation) for an expression that makes no sense, since it may have been meant to forbid.
    """
    selector = policy.spec.namespace_selector
    if selector is None:
        return True
    wanted = selector.match_labels or {}
    held = [_holds(policy, r, labels) for r in selector.match_expressions or []]
    return all(labels.get(k) == v for k, v in wanted.items()) and all(held)


def combine(policies: Iterable[Rules], base: Base) -> Effective:
    """Combine the policies that match a namespace with the settings. Raises Refused(PolicyViolation)."""
    found = sorted(policies, key=lambda p: p.name)

    def one(what: str, get: Callable[[AgentPolicySpec], T | None]) -> T | None:
        said = [(p.owner, _read(p.owner, what, partial(get, p.spec))) for p in found]
        return _agreed(what, [(owner, value) for owner, value in said if value is not None])

    timeout = one("defaults.timeout", lambda s: _timeout(s.defaults))
    credentials = one("credentials", lambda s: s.credentials)
    return Effective(
        allowlists=_allowlists(found, base),
        require_digest=next((p.owner for p in found if p.spec.images and p.spec.images.require_digest), None),
        pull_policy=one("images.pullPolicy", lambda s: s.images.pull_policy if s.images else None)
        or PullPolicy.IfNotPresent,
        cli=_cli(found, base),
        image=one("defaults.image", lambda s: _image(s.defaults)) or base.image,
        memory=one("defaults.memory", lambda s: _memory(s.defaults)),
        cpus=one("defaults.cpus", lambda s: _cpus(s.defaults)),
        timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
        limits=_limits(found),
        volumes=_volumes(found, base),
        network=Network.none if any(p.spec.network is Network.none for p in found) else Network.bridge,
        env=_env(found),
        secret=_secret(credentials, base),
        pull_secrets=pull_secrets(found),
        compose=_compose(found),
        ttl=one("defaults.ttl", lambda s: _ttl(s.defaults)),
        history_limit=min((limit for p in found if (limit := p.spec.history_limit) is not None), default=None),
        networks=_networks(found),
    )


def pull_secrets(policies: Iterable[Rules]) -> tuple[PullSecretRef, ...]:
    """The Secrets with credentials for registries of all these policies."""
    return tuple(dict.fromkeys(one for p in policies if p.spec.images for one in p.spec.images.pull_secrets or ()))


def stated(spec: AgentPolicySpec) -> dict[str, object]:
    """The values on which policies have to agree, by field, as they are compared. Raises InvalidInput."""
    cli = spec.cli or CLISource()
    found: dict[str, object] = {
        "images.pullPolicy": spec.images.pull_policy if spec.images else None,
        "defaults.image": _image(spec.defaults),
        "defaults.memory": _memory(spec.defaults),
        "defaults.cpus": _cpus(spec.defaults),
        "defaults.timeout": _timeout(spec.defaults),
        "defaults.ttl": _ttl(spec.defaults),
        "cli.image": cli.image,
        "cli.tag": cli.tag,
        "cli.pull": cli.pull,
        "cli.mount": cli.mount,
        "cli.path": cli.path,
        "credentials": spec.credentials,
    }
    found |= {f"env {v.name}": v.value for v in spec.env or []}
    return {field: value for field, value in found.items() if value is not None}


def _secret(stated: Credentials | None, base: Base) -> SecretRef | None:
    if stated is not None:
        return stated.secret_ref
    return None if base.credentials_secret is None else SecretRef(name=base.credentials_secret, namespace=None)


def _holds(policy: Rules, requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    values = requirement.values or []
    if bool(values) != (requirement.operator in (Operator.In, Operator.NotIn)):
        raise _unreadable(
            policy.owner, "namespaceSelector", "In and NotIn need values, Exists and DoesNotExist take none"
        )
    match requirement.operator:
        case Operator.In:
            return value is not None and value in values
        case Operator.NotIn:
            return value is None or value not in values
        case Operator.Exists:
            return value is not None
        case Operator.DoesNotExist:
            return value is None


def _agreed(what: str, said: Sequence[tuple[str, T]]) -> T | None:
    if not said:
        return None
    owner, value = said[0]
    for other, another in said[1:]:
        if another != value:
            raise Refused(
                Reason.PolicyViolation,
                f"{owner} and {other} set different values for {what}; an administrator has to make them agree",
            )
    return value


def _read(owner: str, what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except InvalidInput as e:
        raise _unreadable(owner, what, e.message) from e


def _unreadable(owner: str, what: str, why: str) -> Refused:
    return Refused(Reason.PolicyViolation, f"{owner}: {what}: {why}; an administrator has to correct it")


# Defaults are compared by their meaning: 1Gi and 1024Mi agree, as do python and python:latest.


def _image(defaults: Defaults | None) -> str | None:
    return None if defaults is None or defaults.image is None else str(reference.parse(defaults.image))


def _memory(defaults: Defaults | None) -> int | None:
    return None if defaults is None or defaults.memory is None else amounts.memory(defaults.memory)


def _cpus(defaults: Defaults | None) -> int | None:
    return None if defaults is None or defaults.cpus is None else amounts.cpus(defaults.cpus)


def _timeout(defaults: Defaults | None) -> float | None:
    return None if defaults is None or defaults.timeout is None else amounts.timeout(defaults.timeout)


def _ttl(defaults: Defaults | None) -> float | None:
    return None if defaults is None or defaults.ttl is None else duration.parse(defaults.ttl)


def _allowlists(found: Sequence[Rules], base: Base) -> tuple[Allowlist, ...]:
    said = [(SETTINGS, list(base.allowed_image_patterns))]
    said += [(p.owner, p.spec.images.allowed or []) for p in found if p.spec.images]
    return tuple(Allowlist(owner, _patterns(owner, texts)) for owner, texts in said if texts)


def _patterns(owner: str, texts: Sequence[str]) -> tuple[Pattern, ...]:
    return tuple(_read(owner, f"images.allowed[{n}]", partial(pattern.parse, text)) for n, text in enumerate(texts))


def _volumes(found: Sequence[Rules], base: Base) -> tuple[VolumeList, ...]:
    lists = [VolumeList(SETTINGS, tuple((v, False) for v in base.allowed_volumes))] if base.allowed_volumes else []
    for policy in found:
        if policy.spec.volumes is not None:
            folders = tuple((v.path, v.read_only) for v in policy.spec.volumes.allowed)
            lists.append(VolumeList(policy.owner, folders))
    return tuple(lists)


def _networks(found: Sequence[Rules]) -> tuple[NetworkList, ...]:
    stated = [(p.owner, p.spec.notify.allowed_networks) for p in found if p.spec.notify is not None]
    return tuple(
        NetworkList(
            owner, tuple(_read(owner, "notify.allowedNetworks", partial(network.parse, text)) for text in texts)
        )
        for owner, texts in stated
        if texts is not None
    )


def _limits(found: Sequence[Rules]) -> Limits:
    stated = [(p.owner, p.spec.limits) for p in found if p.spec.limits is not None]
    for owner, one in stated:  # each by itself first, so that an invalid one is reported with its owner
        _read(owner, "limits", partial(limits.least, [(owner, one)]))
    return limits.least(stated)


def _compose(found: Sequence[Rules]) -> ComposeRules:
    stated = [(p.owner, p.spec.compose) for p in found if p.spec.compose is not None]
    for owner, one in stated:
        _read(owner, "compose", partial(compose_rules.combined, [(owner, one)]))
    return compose_rules.combined(stated)


def _cli(found: Sequence[Rules], base: Base) -> CLI:
    def one(what: str, get: Callable[[CLISource], T | None]) -> T | None:
        said = [(p.owner, v) for p in found if p.spec.cli and (v := get(p.spec.cli)) is not None]
        return _agreed(f"cli.{what}", said)

    mount = one("mount", lambda c: c.mount)
    image = one("image", lambda c: c.image)
    tag = one("tag", lambda c: c.tag)
    pull = one("pull", lambda c: c.pull)
    path = one("path", lambda c: c.path)
    settings_pull = PullPolicy.IfNotPresent if base.auto_pull_cli else PullPolicy.Never
    mounted = base.mount_claude_cli if mount is None else mount
    owners = " and ".join(p.owner for p in found if p.spec.cli and (p.spec.cli.image or p.spec.cli.tag)) or SETTINGS
    return CLI(
        reference=_read(owners, "cli.image", lambda: _cli_reference(image, tag, base)) if mounted else None,
        pull=pull or settings_pull,
        path=path or "bin/claude",
    )


def _cli_reference(image: str | None, tag: str | None, base: Base) -> Reference:
    """The image's name, with the tag where it has neither tag nor digest of its own."""
    if image is None:
        return reference.parse(reference.with_tag(base.cli_image, tag or base.cli_image_tag))
    return reference.parse(reference.with_tag(image, tag or reference.DEFAULT_TAG))


def _env(found: Sequence[Rules]) -> dict[str, str]:
    names = {v.name for p in found for v in p.spec.env or []}
    env = {}
    for name in sorted(names):
        said = [(p.owner, v.value) for p in found for v in p.spec.env or [] if v.name == name]
        value = _agreed(f"env {name}", said)
        if value is not None:
            env[name] = value
    return env
