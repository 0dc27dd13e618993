"""One session's stack on this node: brought up as its blueprint says, looked after while it runs, stopped.

What is started next, what is replaced and when the stack is ready is decided in plan/stack/. The session's lock is held
while something is created, started or removed, and not while services get ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stromboli import naming
from stromboli.errors import NoSpace, PodmanError, ServiceFailed, Swapped
from stromboli.naming import Role
from stromboli.node.serial import SessionLocks
from stromboli.node.stacks.parts import Parts
from stromboli.node.stacks.tending import Duties, Ended, Tending
from stromboli.plan.stack import changes, definitions, names, namespaces, order
from stromboli.plan.stack.blueprint import Blueprint, Planned
from stromboli.plan.stack.changes import Create, Existing, Keep, Remove, Replace, Restart
from stromboli.plan.stack.order import Failure, Phase, State
from stromboli.plan.stack.supervision import Supervision
from stromboli.podman.container_state import ContainerState

log = logging.getLogger(__name__)

FOREVER = 10 * 365 * 24 * 3600.0  # seconds: nobody waits for a stack that was found running


@dataclass(frozen=True, slots=True)
class Replaced:
    """A service was created anew, and why."""

    service: str
    why: str


@dataclass(frozen=True, slots=True)
class Unready:
    """Something is wrong with a service, and the start goes on without it. `output` is the end of its output."""

    failure: Failure
    output: str


Told = Ended | Replaced | Unready
"""What the users of a stack are told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known about a service; its image is empty if it is not known."""

    name: str
    state: State
    restarts: int = 0
    started: datetime | None = None
    image: str = ""
    digest: str | None = None


class RunningStack:
    """The stack of the session `uid`. `changed` is called when the state of a service has changed, and `tell` with
    everything else that its users should know.
    """

    def __init__(
        self,
        uid: str,
        parts: Parts,
        locks: SessionLocks,
        changed: Callable[[], None],
        tell: Callable[[Told], None],
    ) -> None:
        self._uid = uid
        self._parts = parts
        self._locks = locks
        self._changed = changed
        self._tell = tell
        self._moved = asyncio.Event()
        self._starts = 0  # that are under way
        self._resting = False
        self._tended: dict[str, Tending] = {}
        self._blueprint: Blueprint | None = None

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All services but the agent's, as they are."""
        if self._blueprint is None:
            return tuple(self._seen(name) for name in self._tended)
        return tuple(self._seen(name) for name in self._blueprint.services if name != self._blueprint.agent)

    @property
    def is_looked_after(self) -> bool:
        """Whether anything of it is."""
        return bool(self._tended)

    @property
    def resting(self) -> bool:
        """Whether its services are stopped, or are about to be, and nobody starts them."""
        return self._resting and not self._starts

    async def is_up(self, blueprint: Blueprint, *, since_start: bool = False) -> bool:
        """Whether it is as this blueprint says, and the agent may begin. Raises PodmanError, PodmanUnavailable.

        Podman is asked: it takes a moment to tell that a container was killed. With `since_start` it was brought up for
        this agent, who need not wait for a server that has ended by itself since then: it might do so again and again.
        """
        if not self._seems_up(blueprint):
            return False
        if not since_start and any(one.is_wanted_again for one in self._tended.values()):
            return False
        running = [one.container for one in self._tended.values() if one.state.phase is Phase.running]
        holders = [one.key.name for one in blueprint.containers.values() if one.supervision is None]
        return await self._parts.are_running(*running, *holders) and self._seems_up(blueprint)

    async def bring_up(self, blueprint: Blueprint, report: Callable[[tuple[Seen, ...]], None]) -> None:
        """Make it so, and wait until the agent may begin; `report` is called whenever something has changed.

        May be repeated, by another operator too. Raises ServiceFailed, Swapped, PodmanError, PodmanUnavailable.
        """
        self._starts += 1
        try:
            async with self._locks.hold(self._uid):
                self._resting = False
                await self._adapt(blueprint)
            await self._wait(report)
        finally:
            self._starts -= 1

    async def _wait(self, report: Callable[[tuple[Seen, ...]], None]) -> None:
        """Start services as others get ready, until the agent may begin."""
        warned: set[Failure] = set()
        while True:
            self._moved.clear()
            step = self._step()
            report(self.seen)
            for failure in set(step.warnings) - warned:
                self._tell(Unready(failure, await self._output(failure.service)))
            warned |= set(step.warnings)
            if step.failure is not None:
                raise await self._failed(step.failure)
            if step.done:
                return
            if step.start:
                async with self._locks.hold(self._uid):
                    await self._started(step.start)
            else:
                await self._moved.wait()

    async def adopt(self) -> None:
        """Look after the services that run, or should, as an operator before this one has left them; after none if
        none of them runs, since it was stopped then.
        """
        async with self._locks.hold(self._uid):
            found = await self._parts.existing(self._uid)
            if not any(names.is_service(role) and one.alive for role, one in found.items()):
                return
            completed = await self._parts.completed(self._uid)
            for container in found.values():
                self._adopted(container, completed=container.id in completed and not container.alive)

    def _adopted(self, container: ContainerState, *, completed: bool) -> None:
        name, tended = _labelled(container)
        if tended is None:
            return
        tending = self._tending(name, container.id, tended, FOREVER)
        if completed or (tended.one_shot and container.exit_code == 0):
            tending.has_completed()
        # What ended with 0 may have been stopped, with only a part of the stack: then the next start starts it.
        elif container.alive or container.exit_code not in (None, 0):
            tending.begin()
        else:
            return
        self._tended[name] = tending

    async def stop(self, unused: Callable[[], Awaitable[None]]) -> bool:
        """Stop all containers, each before what it depends on; they stay, with their data.

        From now on the stack is not up, so no run begins with it as it is. Then `unused` is awaited, which raises if a
        run has begun by then: the stack goes on. False if a run has brought it up again before it was stopped.
        """
        before, self._resting = self._resting, True
        try:
            await unused()
        except BaseException:  # cancelled, too: then nothing is stopped
            self._resting = before
            raise
        async with self._locks.hold(self._uid):
            if not self._resting:
                return False
            await self.close()
            found = await self._parts.existing(self._uid)
            for role in self._stopping(found):
                await self._parts.stop(found[role])
        return True

    async def close(self) -> None:
        """Stop looking after it; its containers go on."""
        for tending in self._tended.values():
            await tending.close()

    def _seems_up(self, blueprint: Blueprint) -> bool:
        if self._resting or self._blueprint is None or self._blueprint.fingerprint != blueprint.fingerprint:
            return False
        return self._step().done

    def _step(self) -> order.Step:
        assert self._blueprint is not None
        states = {
            name: self._tended[name].state if name in self._tended else State()
            for name in self._blueprint.services
            if name != self._blueprint.agent
        }
        return order.step(self._blueprint.services, self._blueprint.agent, states)

    # --- from what is there to what the blueprint has ---

    async def _adapt(self, blueprint: Blueprint) -> None:
        """Everything is created, nothing but holders is started, and what is not wanted any more is gone."""
        found = await self._parts.existing(self._uid)
        completed = await self._parts.completed(self._uid)
        existing = {role: _existing(one, completed=one.id in completed or _is_done(one)) for role, one in found.items()}
        fates = changes.plan(blueprint.wanted, existing)
        await self._free_the_agent(blueprint, fates)
        for role in changes.stopping(fates, [*blueprint.containers]):
            await self._put_away(role, found[role], remove=not isinstance(fates[role], Restart))
        await self._parts.prepare(blueprint)
        self._blueprint = blueprint
        ids = {role: one.id for role, one in found.items()}
        new = {role: one for role, one in blueprint.containers.items() if isinstance(fates[role], Create | Replace)}
        for role, planned in blueprint.containers.items():
            if planned.supervision is None:  # a holder, which those in its namespace are created with
                if role in new:
                    ids[role] = await self._parts.create(planned)
                if not isinstance(fates[role], Keep):
                    ids[role] = await self._parts.start_planned(planned, ids[role])
        ids |= await self._created({role: one for role, one in new.items() if one.supervision is not None})
        for role, planned in new.items():
            if isinstance(fate := fates[role], Replace) and planned.supervision is not None:
                self._tell(Replaced(planned.service, fate.why))
        for role, planned in blueprint.containers.items():
            if planned.supervision is not None:
                await self._take_over(planned, ids[role], found.get(role), keep=isinstance(fates[role], Keep))

    async def _created(self, new: Mapping[Role, Planned]) -> dict[Role, str]:
        """The ids of new containers. Raises PodmanError, PodmanUnavailable, ServiceFailed, but only once nothing is
        under way any more.
        """
        done = await asyncio.gather(*map(self._parts.create, new.values()), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return {role: one for role, one in zip(new, done, strict=True) if isinstance(one, str)}

    async def _take_over(self, planned: Planned, container: str, found: ContainerState | None, *, keep: bool) -> None:
        name, tended = planned.service, planned.supervision
        assert tended is not None
        assert self._blueprint is not None
        known = self._tended.get(name)
        if keep and known is not None and known.container == container and known.is_at_work:
            known.expect(tended, self._blueprint.health_timeout.value)
            return
        tending = self._tending(name, container, tended, self._blueprint.health_timeout.value)
        if known is not None:
            if known.container == container and known.is_at_work:  # it has ended, and is started again from here
                tending.restarts = known.restarts + 1
                if known.state.phase is Phase.running and found is not None:
                    self._tell(Ended(name, found.exit_code or 0, await tending.last_words()))
            await known.close()
        self._tended[name] = tending
        if not keep:
            return
        if found is not None and not found.alive:
            tending.has_completed()
        else:
            tending.begin()

    async def _put_away(self, role: Role, container: ContainerState, *, remove: bool) -> None:
        name, _ = _labelled(container)
        # A holder is labelled with the name of a service as well, which may stay.
        if names.is_service(role) and (tending := self._tended.pop(name, None)) is not None:
            await tending.close()
        await self._parts.stop(container)
        if remove:
            await self._parts.remove(container)

    async def _free_the_agent(self, blueprint: Blueprint, fates: Mapping[Role, changes.Fate]) -> None:
        """Podman binds a container to the one whose namespace it shares: where that is replaced, so is the agent's."""
        root = namespaces.shared(blueprint.services).get(blueprint.agent)
        if root is not None and isinstance(fates.get(names.namespace(root)), Replace | Remove):
            await self._parts.remove_agent(self._uid)

    def _stopping(self, found: Mapping[Role, ContainerState]) -> list[Role]:
        known = [*self._blueprint.containers] if self._blueprint is not None else []
        services = [role for role in found if names.is_service(role)]
        rank = {role: n for n, role in enumerate(known)}
        services.sort(key=lambda role: -rank.get(role, 0))
        return [*services, *(role for role in found if not names.is_service(role))]

    # --- services ---

    def _tending(self, name: str, container: str, tended: Supervision, patience: float) -> Tending:
        duties = Duties(self._parts.podman, self._completed, self._restart, self._turned, self._tell)
        return Tending(name, container, tended, patience, duties)

    def _turned(self) -> None:
        self._moved.set()
        self._changed()

    async def _started(self, services: Sequence[str]) -> None:
        """Start them side by side. Raises NoSpace, PodmanUnavailable, but only once nothing is under way any more."""
        done = await asyncio.gather(*map(self._start, services), return_exceptions=True)
        for failure in filter(None, done):
            raise failure

    async def _start(self, name: str) -> None:
        tending = self._tended[name]
        assert self._blueprint is not None
        planned = self._blueprint.containers[names.service(name)]
        try:
            tending.container = await self._parts.start_planned(planned, tending.container)
        except Swapped as error:
            tending.has_failed(f"cannot be started: {planned.places.get(error.target, '')}: {error}")
        except NoSpace:
            raise
        except PodmanError as error:
            tending.has_failed(f"cannot be started: {error}")
        else:
            tending.begin()

    async def _completed(self, container: str) -> None:
        await self._parts.note_completed(self._uid, container)

    async def _restart(self, name: str) -> None:
        """A service that has ended is started again. Raises PodmanError, PodmanUnavailable."""
        container = self._tended[name].container
        async with self._locks.hold(self._uid):
            known = self._blueprint.containers.get(names.service(name)) if self._blueprint is not None else None
            binds = known.binds if known is not None else await self._parts.binds(container)
            await self._parts.start(container, binds)

    def _seen(self, name: str) -> Seen:
        tending = self._tended.get(name)
        image, digest = self._blueprint.images.get(name, ("", None)) if self._blueprint is not None else ("", None)
        if tending is None:
            return Seen(name, State(), image=image, digest=digest)
        return Seen(name, tending.state, tending.restarts, tending.started, image, digest)

    async def _output(self, name: str) -> str:
        return await self._tended[name].last_words() if name in self._tended else ""

    async def _failed(self, failure: Failure) -> ServiceFailed:
        return ServiceFailed(failure.service, failure.at, failure.what, await self._output(failure.service))


def _labelled(container: ContainerState) -> tuple[str, Supervision | None]:
    """The service of a container, and how it is looked after; None for a holder, or if its label cannot be read."""
    try:
        tended = Supervision.from_label(container.labels[naming.SUPERVISION])
    except (KeyError, ValueError):
        tended = None
    return container.labels.get(naming.SERVICE, ""), tended


def _is_done(container: ContainerState) -> bool:
    """Whether it has done its work while nobody was there to remember that."""
    _, tended = _labelled(container)
    return tended is not None and tended.one_shot and container.status == "exited" and container.exit_code == 0


def _existing(container: ContainerState, *, completed: bool) -> Existing:
    definition = definitions.from_label(container.labels.get(naming.DEFINITION, ""))
    return Existing(container.id, definition, running=container.alive, completed=completed)
