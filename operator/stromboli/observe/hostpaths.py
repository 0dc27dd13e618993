"""A run's volumes on this node: links resolved, and the policy asked again about where they really lead.

Resolved before each start. What lies between this look and the kernel's own is a window in which somebody who
may already write below an allowed folder could swap a folder for a link; so the resolved path is what is mounted.
"""

from __future__ import annotations

import os
from dataclasses import replace

from stromboli.plan import volumes
from stromboli.plan.policy import Effective, VolumeList
from stromboli.plan.refusal import invalid
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume


def resolve(request: Request, policy: Effective) -> tuple[Volume, ...]:
    """The volumes with real host paths. Raises Refused(InvalidSpec) or Refused(PolicyViolation)."""
    lists = tuple(_real(rules) for rules in policy.volumes)
    return tuple(_resolve(v, lists, f"spec.volumes[{n}]") for n, v in enumerate(request.volumes))


def _resolve(volume: Volume, lists: tuple[VolumeList, ...], field: str) -> Volume:
    try:
        real = os.path.realpath(volume.host, strict=True)
    except OSError as e:
        raise invalid(field, f"{volume.host} is not on the node ({e.strerror}); make the folder first") from e
    resolved = replace(volume, host=real)
    volumes.judge(resolved, lists)
    return resolved


def _real(rules: VolumeList) -> VolumeList:
    """The allowed folders where they really are: an administrator may have allowed a link."""
    return replace(rules, folders=tuple((os.path.realpath(path), ro) for path, ro in rules.folders))
