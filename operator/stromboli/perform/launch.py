"""Creates and starts the container of an attempt that is recorded in the status.

All of this may be repeated for the same attempt: an incomplete folder is completed, a container that never started is
created again, and the supervisor refuses an attempt whose first seal is broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import containers
from stromboli.attempt.folder import SessionFolder, require_room
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError, PodmanUnavailable, Swapped, TooLittleMemory, Unmountable
from stromboli.inspection.root import MountedRoot
from stromboli.models.agentpolicy import Network
from stromboli.models.fields import MAX_TIMEOUT
from stromboli.models.lifecycle import INIT_HOOKS
from stromboli.naming import ContainerKey
from stromboli.node import checked_start
from stromboli.node.ends import Ends
from stromboli.node.networks import Networks
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Ready
from stromboli.plan import argv, container, follow, managed, permissions, redaction, variables, volumes
from stromboli.plan.attempt import CONFIGURATION_FILE, HOOKS_FILE, AttemptPlan, Conversation, render
from stromboli.plan.container import Identity, Place
from stromboli.plan.redaction import Secrets
from stromboli.plan.refusal import invalid
from stromboli.plan.session import hooks_hash, hooks_to_run
from stromboli.plan.stack import agent
from stromboli.plan.stack.sources import Identity as Bound
from stromboli.plan.volumes import Volume
from stromboli.podman.transport import HostInfo, Podman

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """The run, and the number of its attempt. `grace` is in seconds; `continues` means that the prompt may have been
    sent in an earlier attempt, whose conversation this one continues.
    """

    uid: str
    namespace: str
    name: str
    number: int
    grace: float
    continues: bool

    @property
    def label(self) -> str:
        """namespace/name, for messages."""
        return f"{self.namespace}/{self.name}"


class Launcher:
    """Starts attempts on this node."""

    def __init__(self, podman: Podman, site: Site, networks: Networks, ends: Ends) -> None:
        self._podman = podman
        self._site = site
        self._networks = networks
        self._ends = ends
        self._host: HostInfo | None = None

    async def prepare(self, subject: Subject, ready: Ready, held: Held) -> None:
        """Create the attempt's folder on disk, before the attempt is recorded: see observe/attempts.py.

        Raises NoSpace, PodmanError, PodmanUnavailable.
        """
        owner = await self._owner(ready)
        require_room(self._site.home)
        files = render(_plan(subject, ready, held))
        folder = self._site.folder(held.uid)
        await asyncio.to_thread(folder.prepare_attempt, subject.uid, subject.number, files, owner)  # it syncs the disk

    async def launch(self, subject: Subject, ready: Ready, held: Held, may_start: Callable[[], Awaitable[None]]) -> str:
        """Create the container of a prepared attempt, unless the session has one, and start it; returns its name.

        `may_start` is called right before the start, and raises what keeps it from being started.

        Raises NoSpace, PodmanError, PodmanUnavailable, and Refused if no container with this spec can ever be started.
        No prompt was sent then.
        """
        owner = await self._owner(ready)
        folder = self._site.folder(held.uid)
        # In a thread of its own: it removes whatever an earlier agent has put into the folder of the secrets.
        await apart(self._hand_over, folder, subject, ready, held, owner)
        key = naming.agent(held.uid)
        try:
            if held.container is None:
                await self._make(key, folder, subject, ready, held)
            nested = await self._check_landings(key.name, _mounted(ready))
            await self._start(key, ready, may_start, nested=nested)
        except Unmountable as error:
            raise volumes.misfit(error.target, error.why, ready.volumes) from error
        except TooLittleMemory as error:
            memory = ready.judged.request.memory
            raise invalid(
                "spec.resources.memory", f"{memory} bytes are not enough to start a container; use 512Mi, for example"
            ) from error
        except PodmanError:
            self._networks.forget()
            raise
        folder.take_back()
        return key.name

    async def _start(
        self, key: ContainerKey, ready: Ready, may_start: Callable[[], Awaitable[None]], *, nested: bool
    ) -> None:
        """Start the container, in which nothing may be mounted that was not checked, nor over what is the operator's.

        Only mounts that are `nested` can be: where the inner one lands is up to links in the outer one.
        """
        binds, own = _binds(ready), naming.OWN_MOUNTS if nested else ()

        async def before() -> None:
            await self._ends.listen(key)
            await may_start()

        target = await checked_start.start(self._podman, key.name, binds, before, own)
        if target is None:
            return
        if target in binds:
            raise Swapped(target, "what is to be mounted there was changed while the container was being started")
        raise invalid(
            "spec.environment" if ready.blueprint is not None else "spec.volumes",
            f"of two mounts, one inside the other, a link in the outer one leads the inner one to {target}, which "
            "belongs to Stromboli; remove the link, or choose another place for one of them",
        )

    def take_back(self, session: str) -> None:
        """Delete the secrets file: a container of the session is running, and keeps its mount of it.

        The operator that started it may have been killed before it did this.
        """
        self._site.folder(session).take_back()

    async def _check_landings(self, name: str, mounted: Sequence[Volume]) -> bool:
        """Check where the volumes are really mounted: links in the container, of its image or of an agent, may lead
        elsewhere. Returns whether one of them is inside another one.

        If the operator cannot see the mounted root, only the supervisor checks that no volume hides the CLI.
        """
        if not mounted:
            return False
        root = MountedRoot(Path(await self._podman.containers.mount(name)))
        if not root.visible:
            return volumes.are_nested([volume.container for volume in mounted])
        targets = (*volumes.own_places(), *(volume.container for volume in mounted))
        # Nothing can be mounted at a circle of links: the runtime reports that itself.
        landings = {target: root.landing(target) or target for target in targets}
        volumes.check_landings(mounted, landings)
        return volumes.are_nested([landings[volume.container] for volume in mounted])

    async def unenforced(self, ready: Ready) -> str | None:
        """A sentence about the run's limits that this node cannot enforce; None if there are none, or if it is unknown.

        Called once the container runs, because Podman takes a while to describe its host.
        """
        request = ready.judged.request
        if container.unenforced(request, ()) is None:  # there is no limit to enforce
            return None
        try:
            return container.unenforced(request, (await self._podman_host()).controllers)
        except (PodmanError, PodmanUnavailable) as error:
            log.warning("it is not known whether the node enforces the limits of a run: %s", error)
            return None

    async def end(self, container: str, signal: follow.Signal) -> None:
        """Have the container's supervisor end it, or kill it; no effect if it has ended.

        Raises PodmanError, PodmanUnavailable.
        """
        if signal == "KILL":
            log.warning("container %s has not ended in the time that it was given; it is killed", container)
        await self._podman.containers.kill(container, signal)

    def revoke(self, session: str) -> None:
        """Ensure that a start that a killed operator has requested fails: what it would mount is no longer there."""
        self._site.folder(session).unlink("attempt")

    def _hand_over(
        self, folder: SessionFolder, subject: Subject, ready: Ready, held: Held, owner: tuple[int, int] | None
    ) -> None:
        """Write the attempt's secrets, then point the links at the attempt, which makes it the container's next one."""
        attempt = naming.attempt(subject.uid, subject.number)
        folder.write_given(attempt, Secrets({*_given(ready).values, *folder.given_before(attempt).values}))
        secret, files = _secret_env(ready), ready.taken.files
        folder.write_secrets(secret.values(), ready.credentials.file, owner, files.values())
        if ready.cli is not None:
            folder.point("cli", Path(ready.cli.mount))
        if held.stays:
            folder.point("gateway", ready.gateway or folder.nothing())
        folder.point("attempt", folder.attempt(subject.uid, subject.number))

    async def _make(self, key: ContainerKey, folder: SessionFolder, subject: Subject, ready: Ready, held: Held) -> None:
        """Create the session's volume, its network, and its container, which is not started."""
        labels = self._site.labels(key, f"{subject.namespace}/{held.name or subject.name}")
        network, _ = await asyncio.gather(
            self._network(subject.namespace, ready),
            self._podman.volumes.create(naming.volume(held.uid), labels),
        )
        body = container.body(
            ready.judged.request,
            name=key.name,
            image_id=held.base or ready.image.id,
            identity=await self._identity(ready),
            place=_place(folder, held, ready, network),
            volumes=ready.volumes,
            labels={**labels, naming.SHAPE: ready.shape.to_label()} if held.stays else labels,
            longest=MAX_TIMEOUT if held.name is not None else ready.judged.request.timeout,
        )
        if ready.blueprint is not None:
            body = agent.extended(body, ready.blueprint.part)
        await containers.create(self._podman, self._site, key, body)

    async def _network(self, namespace: str, ready: Ready) -> str | None:
        """The namespace's own bridge network, created if missing; None for no network at all, or those of a stack."""
        if ready.blueprint is not None or ready.judged.policy.network is Network.none:
            return None
        return await self._networks.ensure(namespace)

    async def _owner(self, ready: Ready) -> tuple[int, int] | None:
        """The owner of the files that the container writes, if Podman runs as root; rootless, they need none."""
        user = ready.user
        return None if user.uid == 0 or (await self._podman_host()).rootless else (user.uid, user.gid)

    async def _identity(self, ready: Ready) -> Identity:
        """The user as which the agent works. Unless that is root, Podman is asked which ids it can map."""
        user = ready.user
        if user.uid == 0:
            return Identity(user.uid, user.gid, user.groups)
        host = await self._podman_host()
        return Identity(user.uid, user.gid, user.groups, host.ids if host.rootless else None)

    async def _podman_host(self) -> HostInfo:
        if self._host is None:
            self._host = await self._podman.info()
        return self._host


def _given(ready: Ready) -> Secrets:
    """Every secret that the attempt is given: Claude's credentials, the run's own secrets, and the files of the service
    that it runs in.
    """
    credentials = redaction.given(ready.credentials.env, ready.credentials.file)
    own = redaction.taken([*ready.taken.secret_env.values(), *ready.taken.files.values()])
    if ready.stack is None:
        return Secrets({*credentials.values, *own.values})
    files = redaction.of_files(ready.stack.secrets[mount.source] for mount in ready.stack.agent.secrets)
    return Secrets({*credentials.values, *own.values, *files.values})


def _secret_env(ready: Ready) -> dict[str, bytes]:
    """The variables whose values are handed over: Claude's credentials go before the run's own."""
    return {**ready.taken.secret_env, **ready.credentials.env}


def _place(folder: SessionFolder, held: Held, ready: Ready, network: str | None) -> Place:
    # A container that is kept gets it through a link: by its next start, the policy may name another gateway.
    gateway = folder.link("gateway") if held.stays else ready.gateway
    return Place(
        attempt=str(folder.link("attempt")),
        secret=str(folder.link("secret")),
        cli=str(folder.link("cli")) if ready.cli is not None else None,
        gateway=str(gateway) if gateway else None,
        volume=naming.volume(held.uid),
        network=network,
    )


def _binds(ready: Ready) -> Mapping[str, Bound]:
    """What of the service's binds has to be mounted where: a volume of the run's own at the same place replaces one."""
    found = ready.blueprint.agent_binds if ready.blueprint is not None else {}
    own = {volume.container for volume in ready.volumes}
    return {target: identity for target, identity in found.items() if target not in own}


def _mounted(ready: Ready) -> tuple[Volume, ...]:
    """Everything of the run's, and of its service's, that is mounted into the container."""
    if ready.blueprint is None:
        return ready.volumes
    fields = ready.blueprint.part.fields
    own = {volume.container for volume in ready.volumes}
    targets = [one["destination"] for one in fields["mounts"]] + [one["Dest"] for one in fields["volumes"]]
    targets += [one["Destination"] for one in fields["image_volumes"]]
    return (*ready.volumes, *(Volume("", target, read_only=False) for target in targets if target not in own))


def _plan(subject: Subject, ready: Ready, held: Held) -> AttemptPlan:
    request, cli = ready.judged.request, ready.cli
    program = cli.program if cli is not None else "claude"
    arguments, files = argv.build(program, request.claude)
    env = {**_CLI_ENV, **ready.taken.env, **request.env}
    if ready.user.uid == 0 and permissions.are_skipped(request.claude):
        env["IS_SANDBOX"] = "1"
    files = {**files, "prompt": ready.prompt.encode(), HOOKS_FILE: hooks_hash(request.hooks).encode()}
    if ready.configuration is not None:
        files[CONFIGURATION_FILE] = ready.configuration
    return AttemptPlan(
        env=env,
        secret_env=tuple(_secret_env(ready)),
        secret_files=tuple(ready.taken.files),
        credentials=ready.credentials.file is not None,
        workdir=request.workdir or ready.image.workdir or None,
        hooks=hooks_to_run(request.hooks, held.initialized),
        run=subject.uid,
        conversation=held.conversation or Conversation(naming.conversation(held.uid)),
        argv=arguments,
        cli=program if cli is not None else "",
        timeout=request.timeout,
        hooks_timeout=request.hooks_timeout,
        grace=subject.grace,
        files=files,
        withheld=variables.withheld(ready.image_env),
        recalls=held.initialized and any(hook.kind in INIT_HOOKS for hook in request.hooks),
        kept_env=(*ready.judged.policy.env, *ready.credentials.env),
        continues=subject.continues,
        managed=managed.files(ready.managed, {n: request.env[n] for n in ready.judged.policy.env}),
    )


# The CLI in a container neither updates itself nor sends telemetry, unless the run's own env says otherwise.
_CLI_ENV = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
