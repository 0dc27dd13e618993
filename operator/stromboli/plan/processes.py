"""Checks arguments and variables from a spec and its policies against what a process can be started with. Pure.

execve(2): one string has at most 128 KiB, its NUL included, and all arguments and variables together a quarter of the
stack's limit, which is 2 MiB nearly everywhere. Some of that is left to the image's own variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stromboli.errors import Refused
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.claude import ClaudeOptions
from stromboli.plan import argv
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason

MAX_STRING = 128 * 1024
MAX_TOTAL = 3 * 512 * 1024
_POINTER = 8  # bytes that each takes in addition to its text


def arguments_and_variables_fit(spec: AgentRunSpec, policy: Effective) -> None:
    """Raises Refused(InvalidSpec), or Refused(PolicyViolation) for a policy's own."""
    for n, variable in enumerate(spec.env or []):
        variable_fits(f"spec.env[{n}]", variable.name, variable.literal or "")
    for name, value in policy.env.items():
        if (size := _variable(name, value)) > MAX_STRING:
            raise Refused(Reason.PolicyViolation, f"the policy's env {_too_large(name, size)}")
    all_fit(spec, policy, {})


def variable_fits(field: str, name: str, value: str) -> None:
    """Raises Refused(InvalidSpec) for a variable that is too large by itself."""
    if (size := _variable(name, value)) > MAX_STRING:
        raise invalid(field, _too_large(name, size))


def all_fit(spec: AgentRunSpec, policy: Effective, taken: Mapping[str, str]) -> None:
    """`taken` are the variables that come from ConfigMaps and Secrets. Raises Refused(InvalidSpec)."""
    own = {variable.name: variable.literal or "" for variable in spec.env or []}
    words, _ = argv.build("claude", spec.claude or ClaudeOptions())
    total = _total(words) + _total(f"{name}={value}" for name, value in {**own, **taken, **policy.env}.items())
    if total > MAX_TOTAL:
        raise invalid(
            "spec",
            f"env and the options of claude that become arguments have {total} bytes together, and a process can be "
            f"started with {MAX_TOTAL}; put what is long into files",
        )


def _too_large(name: str, size: int) -> str:
    return (
        f"{name} has {size} bytes with its name, and the kernel gives no process a variable of more than {MAX_STRING}; "
        "put it into a file"
    )


def _variable(name: str, value: str) -> int:
    return _size(f"{name}={value}")


def _total(strings: Iterable[str]) -> int:
    return sum(_size(text) + _POINTER for text in strings)


def _size(text: str) -> int:
    """Bytes as the kernel counts them: with the NUL."""
    return len(text.encode("utf-8", "surrogatepass")) + 1
