"""Types of fields that several kinds have, each with the rules that the API server checks at apply."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from stromboli.grammar.duration import DURATION_RE2
from stromboli.grammar.quantity import CPU_RE2, MEMORY_RE2
from stromboli.grammar.reference import REFERENCE_RE2
from stromboli.models.base import NO_NUL, Model, ObjectName, matches, none_if_empty, rule, rules, without_nul

MIN_TIMEOUT = 1.0
MAX_TIMEOUT = 7 * 24 * 3600.0

_int_or_string = {"x-kubernetes-int-or-string": True}
# In CEL: what an invalid unit such as 2g or 512MB was probably meant to be.
_MEMORY_MEANT = "self.find('^[0-9.]+') + self.find('[kKmMgGtT]').upperAscii() + 'i'"
_MEMORY_ADVICE = "a number of bytes, or one with Ki, Mi, Gi, K, M or G, such as 512Mi"
_MEMORY_RULES = {
    "x-kubernetes-validations": [
        rule(
            "type(self) != string || !self.endsWith('m')",
            "m is a thousandth of a byte in Kubernetes quantities: write 512Mi (or 512M) instead of 512m",
            "'m is a thousandth of a byte in Kubernetes quantities: write '"
            " + (self.matches('^[0-9.]+m$') ? self.find('^[0-9.]+') + 'Mi' : '512Mi')",
        ),
        rule(
            f"type(self) != string || self.endsWith('m') || self.matches(r'{MEMORY_RE2}')",
            f"is not a memory size: write {_MEMORY_ADVICE}",
            "'is not a memory size: write ' + (self.matches('^[0-9]+([.][0-9]+)? *[kKmMgGtT][iI]?[bB]?$') ? "
            f"{_MEMORY_MEANT} : '{_MEMORY_ADVICE}')",
        ),
        rule(
            "type(self) != int || self >= 6291456", "must be a number of bytes, at least 6Mi: write 512Mi for example"
        ),
    ]
}
# JSON has one kind of number, and a schema's integer-or-string does not accept 1.5, so these fields have no type. An
# invalid quantity is then found when a run starts; in a policy, where it would stop every run, at apply.
_CPUS = {
    "x-kubernetes-preserve-unknown-fields": True,
    "maxLength": 64,
    "exclusiveMinimum": 0,
    "maxItems": 0,
    "maxProperties": 0,
}
_DURATION_RULES = {
    "x-kubernetes-validations": [
        rule(
            "type(self) == string && !self.matches('^[0-9]+$')",
            "needs a unit: write 90s, 10m or 1h30m",
            "'needs a unit: write ' + string(self) + 's for seconds or ' + string(self) + 'm for minutes'",
        ),
        rule(
            "type(self) != string || !self.matches('^[0-9]+ *(d|day|days|w|week|weeks)$')",
            "the longest unit is h: write 24h for each day, 168h for a week",
        ),
        rule(
            "type(self) != string || self.matches('^[0-9]+ *(d|day|days|w|week|weeks)?$')"
            f" || (self.matches(r'{DURATION_RE2}') && duration(self) >= duration('1s'))",
            "must be a duration of at least a second, such as 90s, 10m or 1h30m",
        ),
        rule(
            f"type(self) != string || !self.matches(r'{DURATION_RE2}') || duration(self) <= duration('168h')",
            "is longer than a week; write at most 168h",
        ),
    ]
}


def _is_number_or_text(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number of cpus; write 2, 0.5 or 500m for example")
    return value


Memory = Annotated[int | str, Field(json_schema_extra={**_int_or_string, **_MEMORY_RULES})]
Cpus = Annotated[int | float | str, BeforeValidator(_is_number_or_text), Field(json_schema_extra={**_CPUS})]
PolicyCpus = Annotated[
    int | float | str, BeforeValidator(_is_number_or_text), Field(json_schema_extra={**_CPUS, "pattern": CPU_RE2})
]
# The kernel's own default for the highest process id (PID_MAX_DEFAULT): no kernel has fewer, few have more.
MAX_PIDS = 32768
Pids = Annotated[int, Field(ge=16, le=MAX_PIDS)]
MaxTurns = Annotated[int, Field(ge=1, le=100000)]
MaxBudget = Annotated[float, Field(gt=0, le=100000)]
# The schema accepts a bare number, so that a rule can say what to write instead.
Duration = Annotated[str, Field(max_length=64, json_schema_extra={**_int_or_string, **_DURATION_RULES})]
_REFRESH_RULE = rule(
    f"type(self) != string || !self.matches(r'{DURATION_RE2}') || duration(self) >= duration('1m')",
    "asks the registry more often than once a minute; write 1m or more, such as 6h",
)
Refresh = Annotated[
    str,
    Field(
        max_length=64,
        json_schema_extra={
            **_int_or_string,
            "x-kubernetes-validations": [*_DURATION_RULES["x-kubernetes-validations"], _REFRESH_RULE],
        },
    ),
]
ImageRef = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=matches(
            REFERENCE_RE2,
            "is not an image reference: write [registry/]name[:tag][@digest] in lower case, without a transport "
            "such as docker://, for example python:3.12",
        ),
    ),
]
AbsolutePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        json_schema_extra=rules(
            ("self.startsWith('/')", "is relative; write an absolute path such as /workspace"),
            (r"!self.matches(r'(^|/)\.\.(/|$)')", "has a .. in it; write the path that is meant"),
            NO_NUL,
        ),
    ),
    without_nul,
]
Volume = Annotated[
    str,
    Field(
        min_length=3,
        max_length=8192,
        json_schema_extra=rules(
            (
                r"self.matches('^/[^:]*:/[^:]*(:(ro|rw))?$')",
                "is host:container or host:container:ro, both absolute paths, such as /srv/code:/workspace",
            ),
            (r"!self.matches(r'(^|/|:)\.\.(/|:|$)')", "has a .. in a path; write the path that is meant"),
            (
                r"!self.matches(r':/+((proc|sys|dev|(var/+)?run/+stromboli|opt/+claude)(/[^:]*)?|(var/+)?run/*|opt/*)?(:r[ow])?$')",
                "nothing can be mounted over /, /proc, /sys, /dev, /run/stromboli or /opt/claude; "
                "choose another place, such as /workspace",
            ),
        ),
    ),
]
# An empty list is the same as none, here and wherever emptiness has no meaning.
Volumes = Annotated[Annotated[list[Volume], Field(max_length=64)] | None, AfterValidator(none_if_empty)]


class PullSecretName(Model):
    """A Secret with credentials for registries, in the namespace of the object that names it."""

    name: ObjectName = Field(description="Name of the Secret.")


PULL_SECRETS = (
    "Secrets of the namespace with credentials for registries (`kubernetes.io/dockerconfigjson`), as a Pod's "
    "`imagePullSecrets`."
)
PullSecrets = Annotated[
    Annotated[
        list[PullSecretName],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    | None,
    AfterValidator(none_if_empty),
]


class Resources(Model):
    """Limits of the run's container."""

    memory: Memory | None = Field(None, description="Memory limit, a Kubernetes quantity such as 512Mi.")
    cpus: Cpus | None = Field(None, description="CPU limit, a Kubernetes quantity such as 2, 1.5 or 500m.")
    cpu_shares: Annotated[int, Field(ge=2, le=262144)] | None = Field(
        None, description="Relative weight of the run when CPUs are scarce (default 1024)."
    )
    pids: Pids | None = Field(None, description="Maximum number of processes and threads at a time (default 2048).")
