"""Prepares a run's start in the session that it names: takes the turn, and gets the session ready on the node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.node.serial import SessionLocks
from stromboli.observe import sessions
from stromboli.observe.sessions import Held, Named
from stromboli.perform.candidate import Ready
from stromboli.perform.sessions.forks import Forks
from stromboli.perform.sessions.objects import SessionObjects
from stromboli.perform.sessions.resume import Resumption
from stromboli.perform.sessions.turns import Turns
from stromboli.plan.verdict import Wait


@dataclass(frozen=True, slots=True)
class Turn:
    """The session whose turn a run has taken; `pinned` says whether the session already had an image."""

    session: Session
    pinned: bool


class SessionStarts:
    """Prepares runs' starts in the sessions of this node."""

    def __init__(
        self, locks: SessionLocks, objects: SessionObjects, turns: Turns, forks: Forks, resumption: Resumption
    ) -> None:
        self._locks = locks
        self._objects = objects
        self._turns = turns
        self._forks = forks
        self._resumption = resumption

    def under_way(self, run: Run) -> Wait | None:
        """The wait for work in the background that has to end before the run can start; None if there is none."""
        return self._forks.under_way(run.uid)

    async def take(self, run: Run, named: Named, ready: Ready) -> Turn:
        """Take the session's turn for this run; the session is created if it does not exist.

        May be repeated. Raises Conflict if another run was quicker, Refused, ClusterUnavailable, Rejected.
        """
        session = await self._objects.ensure(run, named, ready)
        return Turn(await self._turns.take(session, run, ready.image.id), pinned=named.pinned is not None)

    @asynccontextmanager
    async def alone(self, run: Run, ready: Ready) -> AsyncIterator[Held]:
        """Inside the block, the run's own session is ready for a start, and its lock is held.

        Raises as `holding` does about the node.
        """
        async with self._locks.hold(run.uid):
            yield await self._resumption.alone(run, ready)

    @asynccontextmanager
    async def holding(self, run: Run, turn: Turn, ready: Ready) -> AsyncIterator[Held]:
        """Inside the block, the session is ready for a start, and its lock is held.

        Raises Conflict if the session was deleted, or the turn given back, before the lock was taken; Waiting also
        while a fork is being copied; Refused, ClusterUnavailable, NoSpace, PodmanError, PodmanUnavailable.
        """
        parent = None if turn.session.status.copied_from else sessions.origin(turn.session)
        if parent is not None:
            await self._forks.ensure(run, turn.session, parent, ready)
        async with self._locks.hold(turn.session.uid):
            session = await self._turns.still(turn.session, run)
            if parent is not None and session.status.copied_from is None:
                session = await self._forks.written(run, session, parent)
            if turn.pinned:
                await self._resumption.warn_of_moved_tag(run, session, ready)
            yield await self._resumption.held(run, session, ready)
