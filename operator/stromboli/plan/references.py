"""What a run takes from ConfigMaps and Secrets into its variables and files: which keys, in which order, and what of it
is refused. Pure.

As in Pods: first `envFrom`, where a later source overrides an earlier one, then `env`, which overrides all of them. A
key of `envFrom` that is not the name of a variable is left out. Everything else that `spec.env` may not set is refused,
wherever its name comes from; what a policy sets stays. Messages name fields, objects and keys, never values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.base import ENV_NAME_PATTERN
from stromboli.models.sources import MAX_TAKEN
from stromboli.plan import processes, variables
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid

Kind = Literal["ConfigMap", "Secret"]
_WHY = ("not the name of a variable", "binary")
_SHOWN = 10  # names in a message
_NAME = re.compile(ENV_NAME_PATTERN.removeprefix("^").removesuffix("$"))


@dataclass(frozen=True, slots=True)
class Object:
    """A ConfigMap or Secret of the run's namespace."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One reference of the spec. `key` is None for all keys of the object, whose variables then begin with `prefix`.

    `name` is that of the variable or file; empty if the keys say it.
    """

    field: str
    object: Object
    optional: bool
    key: str | None = None
    name: str = ""
    prefix: str = ""
    is_file: bool = False

    def at(self, key: str) -> str:
        """The place of a key, for messages."""
        return f"{self.field}: key {key} of the {self.object}"


@dataclass(frozen=True, slots=True)
class Taken:
    """What an attempt gets. `skipped` are sentences about keys that were left out.

    `env` are variables that are no secrets, with their values from ConfigMaps.
    """

    env: Mapping[str, str]
    secret_env: Mapping[str, bytes]
    files: Mapping[str, bytes]
    skipped: tuple[str, ...] = ()


NOTHING = Taken({}, {}, {})


def wanted(spec: AgentRunSpec) -> tuple[Wanted, ...]:
    """All references, in the order in which they count: a later one overrides an earlier one."""
    return (*_sources(spec), *_values(spec), *_files(spec))


def found(want: Wanted, data: Mapping[str, bytes]) -> dict[str, bytes]:
    """What of an object's data a reference needs: its key, or all that can be variables. It is empty if the key is not
    there.
    """
    if want.key is None:
        return {key: value for key, value in data.items() if not _why_not(want, key, value)}
    return {want.key: data[want.key]} if want.key in data else {}


def skipped(want: Wanted, data: Mapping[str, bytes]) -> str | None:
    """A sentence about the keys that `found` leaves out; None if there are none."""
    if want.key is not None:
        return None
    keys = {why: sorted(key for key, value in data.items() if _why_not(want, key, value) == why) for why in _WHY}
    said = [f"{_list(names)} ({why})" for why, names in keys.items() if names]
    if not said:
        return None
    prefixed = f", after the prefix {want.prefix}" if want.prefix else ""
    return f"{want.field}: keys of the {want.object} were left out{prefixed}: {'; '.join(said)}"


def _why_not(want: Wanted, key: str, value: bytes) -> str:
    """Why a key of `envFrom` is no variable; empty if it is one. What is binary in a ConfigMap is not for variables."""
    if not _NAME.fullmatch(want.prefix + key):
        return _WHY[0]
    if want.object.kind == "ConfigMap" and not _is_text(value):
        return _WHY[1]
    return ""


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def size(taken: Mapping[str, bytes]) -> int:
    """What counts towards MAX_TAKEN."""
    return sum(len(key) + len(value) for key, value in taken.items())


def check_size(total: int, want: Wanted) -> None:
    """Raises Refused(InvalidSpec) if all that was found up to this reference is too much."""
    if total > MAX_TAKEN:
        raise invalid(
            want.field,
            f"with the {want.object}, the run takes more than {MAX_TAKEN} bytes from ConfigMaps and Secrets in env, "
            "envFrom and secretFiles; take less, or mount a folder (spec.volumes)",
        )


def taken(
    spec: AgentRunSpec, policy: Effective, each: Sequence[tuple[Wanted, Mapping[str, bytes]]], notes: Sequence[str]
) -> Taken:
    """Put together what was found for each reference; `notes` are those of `skipped`. Raises Refused."""
    env: dict[str, str] = {}
    secret: dict[str, bytes] = {}
    files: dict[str, bytes] = {}
    for want, values in each:
        for key, value in values.items():
            if want.is_file:
                files[want.name] = value
                continue
            name = want.name or want.prefix + key
            text = _text(value, want, key)
            variables.check(want.at(key), name, text, policy.env)
            processes.variable_fits(want.at(key), name, text)
            env.pop(name, None)
            secret.pop(name, None)
            if want.object.kind == "Secret":
                secret[name] = value
            else:
                env[name] = text
    settled = {variable.name for variable in spec.env or [] if variable.literal is not None} | set(policy.env)
    found = Taken(
        {name: value for name, value in env.items() if name not in settled},
        {name: value for name, value in secret.items() if name not in settled},
        files,
        tuple(notes),
    )
    given = {name: value.decode() for name, value in found.secret_env.items()}
    processes.all_fit(spec, policy, {**found.env, **given})
    return found


def _sources(spec: AgentRunSpec) -> Iterator[Wanted]:
    for n, source in enumerate(spec.env_from or []):
        field, prefix = f"spec.envFrom[{n}]", source.prefix or ""
        if (secret := source.secret_ref) is not None:
            yield Wanted(field, Object("Secret", secret.name), bool(secret.optional), prefix=prefix)
        if (config_map := source.config_map_ref) is not None:
            yield Wanted(field, Object("ConfigMap", config_map.name), bool(config_map.optional), prefix=prefix)


def _values(spec: AgentRunSpec) -> Iterator[Wanted]:
    for n, variable in enumerate(spec.env or []):
        if (source := variable.value_from) is None:
            continue
        field, name = f"spec.env[{n}].valueFrom", variable.name
        if (secret := source.secret_key_ref) is not None:
            yield Wanted(field, Object("Secret", secret.name), bool(secret.optional), secret.key, name)
        if (config_map := source.config_map_key_ref) is not None:
            yield Wanted(field, Object("ConfigMap", config_map.name), bool(config_map.optional), config_map.key, name)


def _files(spec: AgentRunSpec) -> Iterator[Wanted]:
    for n, file in enumerate(spec.secret_files or []):
        ref = file.secret_key_ref
        object_ = Object("Secret", ref.name)
        yield Wanted(f"spec.secretFiles[{n}]", object_, bool(ref.optional), ref.key, file.name, is_file=True)


def _text(value: bytes, want: Wanted, key: str) -> str:
    """A variable's value. Raises Refused(InvalidSpec)."""
    instead = "use a file (spec.secretFiles)" if want.object.kind == "Secret" else "take it out"
    if b"\0" in value:
        raise invalid(want.at(key), f"has a NUL character in it, which no variable can have; {instead}")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            want.at(key), f"is not UTF-8 (byte {error.start}), and the value of a variable has to be text; {instead}"
        ) from None
