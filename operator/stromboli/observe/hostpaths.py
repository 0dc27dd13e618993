"""A run's volumes on this node: links are resolved, and the policy is checked again with the real paths.

They are resolved before each start. Between this and the mount, someone who can write below an allowed folder could
replace a folder by a link; so the resolved path is what is mounted.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from stromboli.errors import Refused, Unanswered, Waiting
from stromboli.observe import hostfiles
from stromboli.plan import volumes
from stromboli.plan.policy import Effective, VolumeList
from stromboli.plan.refusal import invalid
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG)


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
    lists, silent = [], []
    for rules in policy.volumes:
        found, unanswered = _real(rules)
        lists.append(found)
        silent += unanswered
    try:
        return tuple(_resolve(v, lists, f"spec.volumes[{n}]") for n, v in enumerate(request.volumes))
    except Refused as refusal:
        if silent and refusal.reason is Reason.PolicyViolation:  # one of these may be the folder that allows it
            raise silent[0] from refusal
        raise


def _resolve(volume: Volume, lists: Sequence[VolumeList], field: str) -> Volume:
    try:
        real = hostfiles.real(volume.host, strict=True)
    except OSError as e:
        if e.errno not in _NOT_THERE:  # the server's fault, not the spec's
            said = f"{field}: {volume.host} cannot be accessed ({e.strerror}); the run continues when it can"
            raise Waiting(Reason.WaitingForReference, said, 10.0) from e
        raise invalid(field, f"{volume.host} is not on the node ({e.strerror}); create the folder first") from e
    resolved = replace(volume, host=real)
    volumes.judge(resolved, lists)
    return resolved


def _real(rules: VolumeList) -> tuple[VolumeList, list[Unanswered]]:
    """The real paths of the allowed folders, since an administrator may have allowed a link; and the file systems that
    do not respond, whose folders are left out.
    """
    folders, silent = [], []
    for path, read_only in rules.folders:
        try:
            folders.append((hostfiles.real(path, strict=False), read_only))
        except Unanswered as problem:
            silent.append(problem)
    return replace(rules, folders=tuple(folders)), silent
