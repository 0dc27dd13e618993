"""A run's volumes on this node: links are resolved, and the policy is checked again with the real paths.

They are resolved before each start. Between this and the mount, someone who can write below an allowed folder could
replace a folder by a link; so the resolved path is what is mounted.
"""

from __future__ import annotations

from dataclasses import replace

from stromboli.errors import Unanswered, Waiting
from stromboli.observe import hostfiles
from stromboli.observe.allowed import NOT_THERE, Allowed
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason


async def resolve(request: Request, policy: Effective) -> tuple[Volume, ...]:
    """The volumes with real host paths. Raises Refused(InvalidSpec), Refused(PolicyViolation), Waiting."""
    if not request.volumes:
        return ()
    try:
        return await hostfiles.in_time(_resolved, request, policy)
    except Unanswered as problem:
        raise Waiting(Reason.WaitingForReference, f"spec.volumes: {problem}", 10.0) from problem


def _resolved(request: Request, policy: Effective) -> tuple[Volume, ...]:
    """Raises Unanswered if a volume, or a folder that may allow one, cannot be accessed."""
    allowed = Allowed.of(policy.volumes)
    return tuple(_resolve(v, allowed, f"spec.volumes[{n}]") for n, v in enumerate(request.volumes))


def _resolve(volume: Volume, allowed: Allowed, field: str) -> Volume:
    try:
        real = hostfiles.real(volume.host, strict=True)
    except OSError as e:
        if e.errno not in NOT_THERE:  # the server's fault, not the spec's
            said = f"{field}: {volume.host} cannot be accessed ({e.strerror}); the run continues when it can"
            raise Waiting(Reason.WaitingForReference, said, 10.0) from e
        raise invalid(field, f"{volume.host} is not on the node ({e.strerror}); create the folder first") from e
    resolved = replace(volume, host=real)
    allowed.judge(resolved)
    return resolved
