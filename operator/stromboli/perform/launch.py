"""Creates and starts the container of an attempt that is recorded in the status.

Everything here may be repeated for one attempt: the folder is completed, a container that never started is created
again, and the supervisor refuses an attempt whose first seal is broken.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt.folder import SessionFolder, require_room
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError, PodmanUnavailable, TooLittleMemory, Unmountable
from stromboli.inspection.root import MountedRoot
from stromboli.models.agentpolicy import Network
from stromboli.models.fields import MAX_TIMEOUT
from stromboli.models.lifecycle import INIT_HOOKS
from stromboli.naming import ContainerKey
from stromboli.node.ends import Ends
from stromboli.node.networks import Networks
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Ready
from stromboli.plan import argv, container, follow, managed, permissions, redaction, variables, volumes
from stromboli.plan.attempt import CONFIGURATION_FILE, HOOKS_FILE, AttemptPlan, Conversation, render
from stromboli.plan.container import Identity, Place
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.plan.session import hooks_hash, hooks_to_run
from stromboli.plan.volumes import Volume
from stromboli.podman.transport import HostInfo, Podman

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """The run, and the number of its attempt."""

    uid: str
    namespace: str
    name: str
    number: int

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

    async def launch(self, subject: Subject, ready: Ready, held: Held) -> str:
        """Create the container of a prepared attempt, unless the session has one, and start it; returns its name.

        Raises NoSpace, PodmanError, PodmanUnavailable, and Refused where the container can never be started as the
        spec has it; nothing was sent then.
        """
        owner = await self._owner(ready)
        folder = self._site.folder(held.uid)
        # Apart: it removes what an agent before this has made of the secrets' folder.
        await apart(self._hand_over, folder, subject, ready, held, owner)
        key = naming.agent(held.uid)
        try:
            if held.container is None:
                await self._make(key, folder, subject, ready, held)
            await self._check_landings(key.name, ready.volumes)
            await self._ends.listen(key)
            await self._podman.containers.start(key.name)
        except Unmountable as error:
            raise volumes.misfit(error.target, error.why, ready.volumes) from error
        except TooLittleMemory as error:
            memory = ready.judged.request.memory
            raise invalid(
                "spec.resources.memory", f"{memory} bytes are too few to start a container in; write 512Mi for example"
            ) from error
        except PodmanError:
            self._networks.forget()
            raise
        folder.take_back()
        return key.name

    def take_back(self, session: str) -> None:
        """A container of the session runs: it has what it was handed, also where who started it was killed since."""
        self._site.folder(session).take_back()

    async def _check_landings(self, name: str, mounted: Sequence[Volume]) -> None:
        """The volumes' targets as the container's own links have them: those of its image, or what an agent has made.

        Where the operator does not see the mounted root, the supervisor alone looks whether the CLI was covered.
        """
        if not mounted:
            return
        root = MountedRoot(Path(await self._podman.containers.mount(name)))
        if not root.visible:
            return
        targets = (*volumes.own_places(), *(volume.container for volume in mounted))
        # A circle of links cannot be mounted at, which the runtime says by itself.
        volumes.check_landings(mounted, {target: root.landing(target) or target for target in targets})

    async def unenforced(self, ready: Ready) -> str | None:
        """Which of the run's limits this node cannot enforce, in a sentence; None for none, or where nobody says.

        Asked once the container runs: Podman takes a while to say what its host is.
        """
        request = ready.judged.request
        if container.unenforced(request, ()) is None:  # there is nothing to enforce
            return None
        try:
            return container.unenforced(request, (await self._podman_host()).controllers)
        except (PodmanError, PodmanUnavailable) as error:
            log.warning("whether the node enforces the limits of a run is not known: %s", error)
            return None

    async def end(self, container: str, *, by_force: bool) -> None:
        """End what its own timer should have ended: the supervisor takes USR1 for that timer's, and gives a step its
        grace. Without effect where it has ended. Raises PodmanError, PodmanUnavailable.
        """
        if by_force:
            log.warning("container %s outlives its timeout, and is killed", container)
        await self._podman.containers.kill(container, "KILL" if by_force else "USR1")

    def _hand_over(
        self, folder: SessionFolder, subject: Subject, ready: Ready, held: Held, owner: tuple[int, int] | None
    ) -> None:
        """The attempt's secrets, then the links: re-pointing them is what hands the attempt over."""
        secrets = redaction.given(ready.credentials.env, ready.credentials.file)
        folder.write_given(naming.attempt(subject.uid, subject.number), secrets)
        folder.write_secrets(ready.credentials.env.values(), ready.credentials.file, owner)
        if ready.cli is not None:
            folder.point("cli", Path(ready.cli.mount))
        if held.name is not None:
            folder.point("gateway", ready.gateway or folder.nothing())
        folder.point("attempt", folder.attempt(subject.uid, subject.number))

    async def _make(self, key: ContainerKey, folder: SessionFolder, subject: Subject, ready: Ready, held: Held) -> None:
        """The session's volume, its network, and its container, not started."""
        labels = self._site.labels(key, f"{subject.namespace}/{held.name or subject.name}")
        network, _ = await asyncio.gather(
            self._network(subject.namespace, ready.judged.policy),
            self._podman.volumes.create(naming.volume(held.uid), labels),
        )
        kept = held.name is not None
        body = container.body(
            ready.judged.request,
            name=key.name,
            image_id=held.base or ready.image.id,
            identity=await self._identity(ready),
            place=_place(folder, held, ready, network),
            volumes=ready.volumes,
            labels={**labels, naming.SHAPE: ready.shape.to_label()} if kept else labels,
            longest=MAX_TIMEOUT if kept else ready.judged.request.timeout,
        )
        await self._create(key, body)

    async def _create(self, key: ContainerKey, body: container.Body) -> None:
        """Create the container. A name that is taken answers 500: look whose it is, then judge."""
        try:
            await self._podman.containers.create(body)
        except PodmanError as error:
            found = await self._podman.containers.inspect(key.name)
            if found is None or found.alive:
                raise
            if self._site.key_of(found.name, found.labels) != key:
                raise PodmanError(
                    f"a container named {key.name} is there and is not ours; remove it", error.status
                ) from error
            # Without force: one that has come to run meanwhile, by a start that a killed operator had asked for, stays.
            await self._podman.containers.remove(found.id, force=False)
            await self._podman.containers.create(body)

    async def _network(self, namespace: str, policy: Effective) -> str | None:
        """The namespace's own bridge network, made if missing; None for no network at all."""
        return None if policy.network is Network.none else await self._networks.have(namespace)

    async def _owner(self, ready: Ready) -> tuple[int, int] | None:
        """Who owns what the container writes, where Podman is root; rootless, the user namespace sees to it."""
        user = ready.user
        return None if user.uid == 0 or (await self._podman_host()).rootless else (user.uid, user.gid)

    async def _identity(self, ready: Ready) -> Identity:
        """As whom the agent works; what Podman may map is asked only where it matters, which is not for root."""
        user = ready.user
        if user.uid == 0:
            return Identity(user.uid, user.gid, user.groups)
        host = await self._podman_host()
        return Identity(user.uid, user.gid, user.groups, host.ids if host.rootless else None)

    async def _podman_host(self) -> HostInfo:
        if self._host is None:
            self._host = await self._podman.info()
        return self._host


def _place(folder: SessionFolder, held: Held, ready: Ready, network: str | None) -> Place:
    # Bound through a link where the container is kept: a policy's gateway may be another by its next start.
    gateway = folder.link("gateway") if held.name is not None else ready.gateway
    return Place(
        attempt=str(folder.link("attempt")),
        secret=str(folder.link("secret")),
        cli=str(folder.link("cli")) if ready.cli is not None else None,
        gateway=str(gateway) if gateway else None,
        volume=naming.volume(held.uid),
        network=network,
    )


def _plan(subject: Subject, ready: Ready, held: Held) -> AttemptPlan:
    request, cli = ready.judged.request, ready.cli
    own = uuid.uuid5(uuid.UUID(subject.uid), str(subject.number))
    program = cli.program if cli is not None else "claude"
    arguments, files = argv.build(program, request.claude)
    env = dict(_CLI_ENV) | dict(request.env)
    if ready.user.uid == 0 and permissions.are_skipped(request.claude):
        env["IS_SANDBOX"] = "1"
    files = {**files, "prompt": ready.prompt.encode(), HOOKS_FILE: hooks_hash(request.hooks).encode()}
    if ready.configuration is not None:
        files[CONFIGURATION_FILE] = ready.configuration
    return AttemptPlan(
        env=env,
        secret_env=tuple(ready.credentials.env),
        credentials=ready.credentials.file is not None,
        workdir=request.workdir or ready.image.workdir or None,
        hooks=hooks_to_run(request.hooks, held.initialized),
        conversation=held.conversation or Conversation(str(own)),
        argv=arguments,
        cli=program if cli is not None else "",
        timeout=request.timeout,
        hooks_timeout=request.hooks_timeout,
        grace=follow.GRACE,
        files=files,
        withheld=variables.withheld(ready.image.env),
        recalls=held.initialized and any(hook.kind in INIT_HOOKS for hook in request.hooks),
        kept_env=tuple(ready.judged.policy.env),
        managed=managed.files(ready.managed, {n: request.env[n] for n in ready.judged.policy.env}),
    )


# The CLI in a container neither updates itself nor reports home; a run's own env may say otherwise.
_CLI_ENV = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
