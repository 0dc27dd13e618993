"""A stack whose services are judged, with all that was looked up for them → every object that it has in Podman. Pure.

Containers are known by their roles; those of services and those that hold namespaces are alike here. The agent's own
service has no container of its own: what it says becomes a part of the run's container (agent.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from stromboli import naming
from stromboli.compose.selection import Selected
from stromboli.compose.stack import Bind, Service, Stack
from stromboli.models.agentpolicy import Network as PolicyNetwork
from stromboli.naming import ContainerKey, Role
from stromboli.plan import volumes
from stromboli.plan.compose_rules import Bound
from stromboli.plan.policy import Effective
from stromboli.plan.stack import agent, body, definitions, dependencies, limits, mounts, names, namespaces, supervision
from stromboli.plan.stack.agent import Part
from stromboli.plan.stack.body import Body, Resolved
from stromboli.plan.stack.changes import Wanted
from stromboli.plan.stack.definitions import Definition
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.mounts import Found, Mounted, Stored
from stromboli.plan.stack.namespaces import Services
from stromboli.plan.stack.networking import Networking, networking
from stromboli.plan.stack.sources import Identity, Source
from stromboli.plan.stack.supervision import Supervision


@dataclass(frozen=True, slots=True)
class Node:
    """What the node is like. `address` is its own, as its containers see it; `ulimits` are its hard limits, -1 for
    none; `holder` is the folder with the static busybox, `program` that one's name there.
    """

    address: str
    ulimits: Mapping[str, int]
    holder: str
    program: str


@dataclass(frozen=True, slots=True)
class Owner:
    """The UID of the session whose stack it is, or of the run without one; `labels` say so, on all its objects."""

    session: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What was looked up for a stack.

    `images` are those of its services, `named` their references and digests, `mounted` the ids of images that are
    mounted, by reference, and `sources` the node's files, by the key that names them, all of which exist by now.
    `secrets` has the copies of secrets' files, by service and target.
    """

    images: Mapping[str, Image]
    named: Mapping[str, tuple[str, str | None]]
    mounted: Mapping[str, str]
    sources: Mapping[str, Source]
    secrets: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A container as it is to be created. `service` is the one that runs in it, or whose namespace it holds.

    `binds` is what has to be mounted at which target, and `places` the keys of the file that say so; `supervision` is
    None for a holder.
    """

    key: ContainerKey
    service: str
    body: Body
    definition: Definition
    supervision: Supervision | None
    binds: Mapping[str, Identity]
    places: Mapping[str, str]

    @property
    def folder(self) -> str | None:
        """The folder in which it works, which Podman does not make; None if it is there in any case."""
        folder = str(self.body.get("work_dir", "/"))
        mounted = [one["destination"] for one in self.body.get("mounts", ())]
        mounted += [one["Dest"] for one in self.body.get("volumes", ())]
        return None if folder == "/" or folder in mounted else folder


@dataclass(frozen=True, slots=True)
class StackNetwork:
    """A network of the stack, by its name in Podman; `key` is its name in the file."""

    name: str
    key: str
    internal: bool


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A whole stack. `containers` are in the order in which they depend on each other: holders first.

    `volumes` maps names in Podman to keys of names.py. `part` is what the agent's service adds to the run's container,
    and `agent_binds` what has to be mounted there. `images` are the references and digests of services. `fingerprint`
    differs if anything does.
    """

    session: str
    agent: str
    services: Services
    containers: Mapping[Role, Planned]
    wanted: Mapping[Role, Wanted]
    networks: tuple[StackNetwork, ...]
    volumes: Mapping[str, str]
    part: Part
    agent_binds: Mapping[str, Identity]
    health_timeout: Bound[float]
    images: Mapping[str, tuple[str, str | None]]
    fingerprint: str


def draw(
    owner: Owner,
    stack: Stack,
    selected: Selected,
    found: LookedUp,
    policy: Effective,
    node: Node,
) -> Blueprint:
    """The blueprint of a stack."""
    drawing = _Drawing(owner, stack, selected, found, policy, node)
    containers = {one.key.role: one for one in (*drawing.holders(), *drawing.containers())}
    part = drawing.part()
    networks, volumes = tuple(drawing.networks()), drawing.volumes()
    definition = {
        "containers": {str(role): one.definition for role, one in containers.items()},
        "agent": part.definition,
        "binds": [sorted(one.binds.items()) for one in containers.values()],
        "volumes": sorted(volumes),
        "depends": {name: repr(dependencies.of(one, selected.services)) for name, one in selected.services.items()},
        "patience": policy.compose.health_timeout.value,
    }
    return Blueprint(
        owner.session,
        selected.agent,
        selected.services,
        containers,
        drawing.wanted(containers),
        networks,
        volumes,
        part,
        drawing.binds(selected.services[selected.agent]),
        policy.compose.health_timeout,
        found.named,
        hashlib.sha256(json.dumps(definition, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest(),
    )


class _Drawing:
    def __init__(
        self,
        owner: Owner,
        stack: Stack,
        selected: Selected,
        found: LookedUp,
        policy: Effective,
        node: Node,
    ) -> None:
        session = self._session = owner.session
        self._labels = owner.labels
        self._services, self._agent = selected.services, selected.agent
        self._found, self._policy, self._node = found, policy, node
        self._shared = namespaces.shared(self._services)
        self._internal = {
            names.network(session, name): network.internal or policy.network is PolicyNetwork.none
            for name, network in stack.networks.items()
        }
        self._keys = {names.network(session, name): name for name in stack.networks}
        self._networking: Networking = networking(
            session, self._services, publish=policy.compose.ports.on, node=node.address
        )
        self._mounts = {name: self._mounted(service) for name, service in self._services.items()}

    def holders(self) -> Iterator[Planned]:
        """The containers that hold namespaces."""
        for root, network in self._networking.holders.items():
            key = names.holder(self._session, root)
            made = body.holder(
                network, name=key.name, labels=self._labelled(key), root=self._node.holder, program=self._node.program
            )
            yield self._planned(key, root, made, None, {})

    def containers(self) -> Iterator[Planned]:
        """The services' containers, each after those that it depends on."""
        once = dependencies.completes(self._services)
        for name in dependencies.sequence(self._services):
            if name == self._agent:
                continue
            service, image = self._services[name], self._found.images[name]
            tended = supervision.of(service, image, one_shot=name in once)
            tended = replace(tended, local=self._shared.get(name) == self._shared.get(self._agent, ""))
            resolved = Resolved(
                service,
                image,
                self._mounts[name],
                self._networking.services[name],
                limits.resources(service, self._policy.limits),
                tended,
                self._node.ulimits,
            )
            key = names.container(self._session, name)
            made = body.body(resolved, name=key.name, labels=self._labelled(key))
            yield self._planned(key, name, made, tended, self.binds(service))

    def part(self) -> Part:
        """What the agent's service adds to the run's container."""
        name = self._agent
        return agent.part(
            self._services[name],
            image=self._found.images[name].id,
            mounts=self._mounts[name],
            network=self._networking.services[name],
            internal=self._internal,
            ulimits=self._node.ulimits,
        )

    def networks(self) -> Iterator[StackNetwork]:
        """The networks that some container is on."""
        parts = (*self._networking.services.values(), *self._networking.holders.values())
        for name in dict.fromkeys(network for part in parts for network in part.get("Networks") or {}):
            yield StackNetwork(name, self._keys[name], self._internal[name])

    def volumes(self) -> dict[str, str]:
        """The volumes that some container mounts."""
        return {one.name: one.key for some in self._mounts.values() for one in some if isinstance(one, Stored)}

    def wanted(self, containers: Mapping[Role, Planned]) -> dict[Role, Wanted]:
        """What changes.py compares with what is there."""
        found = {}
        for role, one in containers.items():
            holder, restarts = None, dict[Role, str]()
            if one.supervision is not None:
                if (root := self._shared.get(one.service)) is not None:
                    holder = names.namespace(root)
                depends = dependencies.of(self._services[one.service], self._services)
                restarts = {names.service(each.service): each.service for each in depends if each.restart}
            found[role] = Wanted(one.definition, holder, restarts)
        return found

    def binds(self, service: Service) -> dict[str, Identity]:
        """What has to be mounted at which target."""
        found = {}
        for mount in service.mounts:
            source = self._found.sources.get(mount.at)
            if source is not None and source.identity is not None:
                found[mount.target] = source.identity
        return found

    def _mounted(self, service: Service) -> tuple[Mounted, ...]:
        binds = (mount for mount in service.mounts if isinstance(mount, Bind))
        paths = {bind.source: self._found.sources[bind.at].path for bind in binds}
        found = Found(paths, self._found.mounted, self._found.secrets.get(service.name, {}))
        inherited = self._found.images[service.name].volumes
        if service.name == self._agent:  # what its image has where the operator mounts is ignored, as without a stack
            inherited = tuple(path for path in inherited if volumes.reserved(volumes.normal(path)) is None)
        return mounts.resolve(self._session, service, inherited, found)

    def _labelled(self, key: ContainerKey) -> dict[str, str]:
        return {**self._labels, naming.ROLE: str(key.role)}

    def _planned(
        self, key: ContainerKey, service: str, made: Body, tended: Supervision | None, binds: Mapping[str, Identity]
    ) -> Planned:
        internal = {name: self._internal[name] for name in made.get("Networks") or {}}
        definition = definitions.of(made, tended, internal)
        labels = {**made["labels"], naming.SERVICE: service, naming.DEFINITION: definitions.to_label(definition)}
        places = {mount.target: mount.at for mount in self._services[service].mounts}
        return Planned(key, service, {**made, "labels": labels}, definition, tended, binds, places)
