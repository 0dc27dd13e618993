"""The ConfigMaps and Secrets that a run names: its prompt, Claude's credentials, and what its variables and files have.

They are read by name at each attempt. The run waits for what is missing, and is refused if something is malformed.
Messages never contain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import bounds, files
from stromboli.errors import OutOfBounds, Refused, Unanswered, Waiting
from stromboli.models.agentpolicy import SecretRef
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.base import KeyRef
from stromboli.observe import hostfiles
from stromboli.observe.reads import ClusterReads
from stromboli.plan import documents, references
from stromboli.plan.policy import Effective
from stromboli.plan.references import Taken, Wanted
from stromboli.reasons import Reason
from stromboli.settings import Settings

CREDENTIALS_FILE = ".credentials.json"
_SHOWN = 10  # keys in a message
CREDENTIAL_KEYS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Claude's credentials: environment variables by name, and the CLI's own file if there is one."""

    env: Mapping[str, bytes]
    file: bytes | None


async def prompt(cluster: ClusterReads, namespace: str, spec: AgentRunSpec) -> str:
    """The prompt. Raises Waiting(WaitingForReference), Refused(InvalidSpec), ClusterUnavailable."""
    if spec.prompt is not None:
        return spec.prompt
    assert spec.prompt_from is not None, "the checks of plan/request.py have run"
    if ref := spec.prompt_from.config_map_key_ref:
        what, data = f"ConfigMap {ref.name}", await config_map_key(cluster, namespace, ref, "spec.promptFrom")
    else:
        ref = spec.prompt_from.secret_key_ref
        assert ref is not None
        what = f"Secret {ref.name}"
        data = _value(
            await cluster.secret_data(namespace, ref.name), ref.key, f"spec.promptFrom: the {what}", namespace
        )
    return documents.decode_prompt(data, f"spec.promptFrom: key {ref.key} of the {what}")


async def config_map_key(cluster: ClusterReads, namespace: str, ref: KeyRef, field: str) -> bytes:
    """What a key of a ConfigMap has. `field` is the one that names it. Raises Waiting, ClusterUnavailable."""
    data = await cluster.config_map_data(namespace, ref.name)
    return _value(data, ref.key, f"{field}: the ConfigMap {ref.name}", namespace, f"; {_keys(data or {})}")


async def taken(cluster: ClusterReads, namespace: str, spec: AgentRunSpec, policy: Effective) -> Taken:
    """What the run's variables and files have. Raises Waiting(WaitingForReference), Refused, ClusterUnavailable.

    The objects are read one after the other, and only what is needed of them is kept.
    """
    wanted = references.wanted(spec)
    found: dict[int, Mapping[str, bytes]] = {}
    notes: dict[int, str] = {}
    total = 0
    for each in dict.fromkeys(want.object for want in wanted):
        read = cluster.secret_data if each.kind == "Secret" else cluster.config_map_data
        data = await read(namespace, each.name)
        for n, want in enumerate(wanted):
            if want.object != each:
                continue
            found[n] = _found(want, data, namespace)
            if (said := references.skipped(want, data or {})) is not None:
                notes[n] = said
            total += references.size(found[n])
            references.check_size(total, want)
    in_order = [(want, found[n]) for n, want in enumerate(wanted)]
    return references.taken(spec, policy, in_order, [notes[n] for n in sorted(notes)])


def _found(want: Wanted, data: Mapping[str, bytes] | None, namespace: str) -> Mapping[str, bytes]:
    """Raises Waiting(WaitingForReference) for what is missing, unless it is optional."""
    if not want.optional and (data is None or want.key is not None):
        keys = f"; {_keys(data or {})}" if want.object.kind == "ConfigMap" else ""
        _value(data, want.key or "", f"{want.field}: the {want.object}", namespace, keys)
    return references.found(want, data or {})


def _value(data: Mapping[str, bytes] | None, key: str, what: str, namespace: str, keys: str = "") -> bytes:
    """Raises Waiting(WaitingForReference) if the object or its key is missing."""
    if data is None:
        raise Waiting(Reason.WaitingForReference, f"{what} is not in namespace {namespace} yet")
    if key not in data:
        raise Waiting(Reason.WaitingForReference, f"{what} has no key {key} yet{keys}")
    return data[key]


def _keys(data: Mapping[str, bytes]) -> str:
    """The names of the first keys, for a message."""
    names = sorted(data)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"its keys are {shown}" if names else "it has no keys at all"


async def credentials(cluster: ClusterReads, settings: Settings, policy: Effective) -> Credentials:
    """Claude's credentials. Raises Refused(CredentialsMissing), Waiting(WaitingForReference), ClusterUnavailable."""
    if policy.secret is not None:
        return await _from_secret(cluster, settings, policy.secret)
    if settings.credentials_file is not None:
        return await _from_file(settings)
    raise Refused(
        Reason.CredentialsMissing,
        "no credentials for Claude are configured; an administrator can name a Secret in credentials.secretRef of an "
        "AgentPolicy, or set agent.credentials_secret or agent.credentials_file in the operator's settings",
    )


async def _from_secret(cluster: ClusterReads, settings: Settings, ref: SecretRef) -> Credentials:
    namespace = ref.namespace or settings.system_namespace
    data = await cluster.secret_data(namespace, ref.name)
    if data is None:
        raise Waiting(
            Reason.WaitingForReference,
            f"credentials: the Secret {ref.name} is not in namespace {namespace} yet",
        )
    env = {k: data[k].strip() for k in CREDENTIAL_KEYS if data.get(k, b"").strip()}
    file = data.get(CREDENTIALS_FILE) or None
    if not env and file is None:
        raise Waiting(
            Reason.WaitingForReference,
            f"credentials: the Secret {ref.name} in namespace {namespace} has none of the keys "
            f"{', '.join(CREDENTIAL_KEYS)} and {CREDENTIALS_FILE}",
        )
    return _measured(Credentials(env, file), f"the key {CREDENTIALS_FILE} of the Secret {ref.name}")


async def _from_file(settings: Settings) -> Credentials:
    assert settings.credentials_file is not None
    try:
        content = await hostfiles.in_time(_beginning, settings.credentials_file)
    except Unanswered as e:
        raise Waiting(
            Reason.WaitingForReference, f"credentials: agent.credentials_file {settings.credentials_file.name}: {e}"
        ) from e
    except OSError as e:
        raise Waiting(
            Reason.WaitingForReference,
            f"credentials: agent.credentials_file {settings.credentials_file.name} cannot be read: {e.strerror}",
        ) from e
    return _measured(Credentials({}, content), f"agent.credentials_file {settings.credentials_file.name}")


def _beginning(file: Path) -> bytes:
    with hostfiles.touching(hostfiles.real(str(file), strict=True)):
        return files.beginning(file, bounds.DOCUMENT.size + 1)


def _measured(found: Credentials, what: str) -> Credentials:
    """The values in the CLI's own file are redacted from statuses, so the whole file must be parseable."""
    try:
        if found.file is not None:
            bounds.measure_json(found.file, bounds.DOCUMENT)
    except OutOfBounds as e:
        raise Refused(Reason.CredentialsMissing, f"credentials: {what} {e}; put the CLI's own file there") from e
    return found
