"""What the agent's service adds to the container in which the agent runs. Pure.

That container is the session's, as plan/container.py makes it: its program and its end are the run's affair, and the
file's `command`, `entrypoint`, `init`, `restart`, `healthcheck`, `stop_signal` and `stop_grace_period` have no say in
it. The service's variables are as if its image had them: what the run or a policy sets goes before them, and those
that would disturb the CLI's own process are kept from it. What the run states itself wins over the service: its working
directory, its resources, a volume at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stromboli import naming
from stromboli.compose.stack import Service
from stromboli.models.fields import Resources as Stated
from stromboli.plan.request import Request
from stromboli.plan.stack import body as bodies
from stromboli.plan.stack import definitions
from stromboli.plan.stack.definitions import Definition
from stromboli.plan.stack.mounts import Mounted

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """The fields that the service adds to the container's body, and the hashes of what it says."""

    fields: Body
    definition: Definition


def request(asked: Request, stated: Stated | None, service: Service) -> Request:
    """The run's request, completed by its service. `stated` are the run's own resources.

    A service's limits have been judged like a run's.
    """
    limits, own = service.limits, stated or Stated()
    return replace(
        asked,
        workdir=asked.workdir or service.working_dir,
        memory=asked.memory if own.memory is not None or limits.memory is None else limits.memory,
        cpus=asked.cpus if own.cpus is not None or limits.cpus is None else limits.cpus,
        pids=asked.pids if own.pids is not None or limits.pids is None else limits.pids,
    )


def part(
    service: Service,
    *,
    image: str,
    mounts: tuple[Mounted, ...],
    network: Mapping[str, Any],
    internal: Mapping[str, bool],
    ulimits: Mapping[str, int],
) -> Part:
    """What the service adds. `image` says which image the session began with, in whatever words; `network` is the
    service's part as of networking.py, and `ulimits` are the node's own hard limits, as in body.py.
    """
    limits = service.limits
    fields: Body = {
        "labels": dict(service.labels),
        "env": dict(service.environment),
        "unsetenv": sorted(service.unset),
        **bodies.mounts(mounts),
        **network,
        **bodies.rights(service),
        **({"hostname": service.hostname} if service.hostname else {}),
        **({"shm_size": limits.shm_size} if limits.shm_size is not None else {}),
        "r_limits": bodies.ulimits(service.ulimits, ulimits),
    }
    own = {"image": image, "user": service.user, "work_dir": service.working_dir}
    asked = {"memory": limits.memory, "cpus": limits.cpus, "pids": limits.pids}
    return Part(fields, definitions.of({**fields, **own, "resource_limits": asked}, None, internal))


def extended(body: Body, part: Part) -> Body:
    """The body of the run's container with the service's part in it."""
    fields = dict(part.fields)
    taken = {mount["destination"] for mount in body["mounts"]} | {volume["Dest"] for volume in body["volumes"]}
    merged = {
        "labels": {**fields.pop("labels"), **body["labels"], naming.DEFINITION: definitions.to_label(part.definition)},
        "mounts": body["mounts"] + [one for one in fields.pop("mounts") if one["destination"] not in taken],
        "volumes": body["volumes"] + [one for one in fields.pop("volumes") if one["Dest"] not in taken],
        "image_volumes": [one for one in fields.pop("image_volumes") if one["Destination"] not in taken],
    }
    kept = {key: value for key, value in body.items() if key not in ("netns", "Networks")}
    return {**kept, **fields, **merged}
