"""An attempt that is written down → a container that runs it.

Everything here may be done twice for one attempt: the folder is completed, a container that never started is
made again, and the supervisor refuses an attempt that bears the mark `started`.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.attempt.folder import SessionFolder, require_room
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.models.agentpolicy import Network
from stromboli.observe.ends import Ends
from stromboli.observe.readiness import Ready
from stromboli.perform.networks import Networks
from stromboli.plan import argv, container
from stromboli.plan.attempt import AttemptPlan, render
from stromboli.plan.container import Identity, Place
from stromboli.plan.policy import Effective
from stromboli.podman.transport import HostInfo, Podman

GRACE = 10.0  # seconds between TERM and KILL when an attempt's time is up


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose attempt it is."""

    uid: str
    namespace: str
    name: str
    number: int

    @property
    def label(self) -> str:
        """namespace/name, for the eye."""
        return f"{self.namespace}/{self.name}"


class Launcher:
    """Starts attempts on this node."""

    def __init__(self, podman: Podman, site: Site, networks: Networks, ends: Ends) -> None:
        self._podman = podman
        self._site = site
        self._networks = networks
        self._ends = ends
        self._host: HostInfo | None = None

    async def prepare(self, subject: Subject, ready: Ready) -> None:
        """Have the attempt's folder on disk. It comes before the attempt is written down: see observe/attempts.py.

        Raises NoSpace, PodmanError, PodmanUnavailable.
        """
        owner = await self._owner(ready)
        require_room(self._site.home)
        self._site.folder(subject.uid).prepare_attempt(
            subject.uid, subject.number, render(_plan(subject, ready)), owner
        )

    async def launch(self, subject: Subject, ready: Ready) -> str:
        """Make the container of a prepared attempt and start it; the container's name.

        Raises NoSpace, PodmanError, PodmanUnavailable; nothing was sent then.
        """
        owner = await self._owner(ready)
        folder = self._site.folder(subject.uid)
        labels = {**self._site.marks(subject.uid), naming.RUN: subject.label, naming.ROLE: naming.ROLE_AGENT}
        self._hand_over(folder, subject, ready, owner)
        network, _ = await asyncio.gather(
            self._network(subject.namespace, ready.judged.policy),
            self._podman.volumes.create(naming.volume(subject.uid), labels),
        )
        name = naming.container(subject.uid)
        body = container.body(
            ready.judged.request,
            name=name,
            image_id=ready.image.id,
            identity=await self._identity(ready),
            place=_place(folder, subject, ready, network),
            volumes=ready.volumes,
            labels=labels,
        )
        try:
            await self._create(name, body, subject.uid)
            await self._ends.listen(subject.uid, name)
            await self._podman.containers.start(name)
        except PodmanError:
            self._networks.forget()
            raise
        return name

    def out(self, uid: str, number: int) -> Path:
        """Where an attempt's marks and records are."""
        return self._site.folder(uid).attempt(uid, number) / "out"

    def marks(self, uid: str) -> dict[str, str]:
        """The labels that a session's container has to bear."""
        return self._site.marks(uid)

    def _hand_over(self, folder: SessionFolder, subject: Subject, ready: Ready, owner: tuple[int, int] | None) -> None:
        """The attempt's secrets, then the links: re-pointing them is what hands the attempt over."""
        folder.write_secrets(ready.credentials.env, ready.credentials.file, owner)
        if ready.cli is not None:
            folder.point("cli", Path(ready.cli.mount))
        folder.point("attempt", folder.attempt(subject.uid, subject.number))

    async def _create(self, name: str, body: container.Body, uid: str) -> None:
        """Create the container. A name that is taken answers 500: look whose it is, then judge."""
        try:
            await self._podman.containers.create(body)
        except PodmanError as error:
            found = await self._podman.containers.inspect(name)
            if found is None or found.running:
                raise
            if not self._site.marks(uid).items() <= found.labels.items():
                raise PodmanError(
                    f"a container named {name} is there and is not ours; remove it", error.status
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
        host = await self._podman_host()
        mapped = host.rootless and ready.user.uid != 0
        return Identity(ready.user.uid, ready.user.gid, host.ids if mapped else None)

    async def _podman_host(self) -> HostInfo:
        if self._host is None:
            self._host = await self._podman.info()
        return self._host


def _place(folder: SessionFolder, subject: Subject, ready: Ready, network: str | None) -> Place:
    return Place(
        attempt=str(folder.link("attempt")),
        secret=str(folder.link("secret")),
        cli=str(folder.link("cli")) if ready.cli is not None else None,
        volume=naming.volume(subject.uid),
        network=network,
    )


def _plan(subject: Subject, ready: Ready) -> AttemptPlan:
    request, cli = ready.judged.request, ready.cli
    session = str(uuid.uuid5(uuid.UUID(subject.uid), str(subject.number)))
    program = cli.program if cli is not None else "claude"
    arguments, files = argv.build(program, request.claude, session_id=session, resume=False)
    env = dict(_CLI_ENV) | dict(request.env)
    if ready.user.uid == 0 and request.claude.skips_permissions:
        env["IS_SANDBOX"] = "1"
    return AttemptPlan(
        env=env,
        secret_env=tuple(ready.credentials.env),
        credentials=ready.credentials.file is not None,
        workdir=request.workdir,
        hooks=request.hooks,
        argv=arguments,
        cli=program if cli is not None else "",
        timeout=request.timeout,
        hooks_timeout=request.hooks_timeout,
        grace=GRACE,
        files={**files, "prompt": ready.prompt.encode()},
    )


# The CLI in a container neither updates itself nor reports home; a run's own env may say otherwise.
_CLI_ENV = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
