"""The stacks on this node that are looked after, by the UIDs of their sessions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from stromboli.attempt.site import Site
from stromboli.node.serial import SessionLocks
from stromboli.node.stacks.parts import Parts
from stromboli.node.stacks.running import RunningStack, Told
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)


class Stacks:
    """`changed` is called with the UID of a session when the state of a service of its stack has changed, and `tell`
    with that and what its users should know.
    """

    def __init__(
        self,
        podman: Podman,
        site: Site,
        locks: SessionLocks,
        changed: Callable[[str], None],
        tell: Callable[[str, Told], None],
    ) -> None:
        self._parts = Parts(podman, site)
        self._locks = locks
        self._changed = changed
        self._tell = tell
        self._running: dict[str, RunningStack] = {}

    def find(self, uid: str) -> RunningStack | None:
        """The stack of a session, if it is looked after."""
        return self._running.get(uid)

    def of(self, uid: str) -> RunningStack:
        """The stack of a session, which is looked after from now on."""
        if uid not in self._running:
            self._running[uid] = self._new(uid)
        return self._running[uid]

    async def adopt(self, uid: str) -> None:
        """Look after what runs of a session's stack, if nothing of it is looked after yet. Raises PodmanError,
        PodmanUnavailable.
        """
        if uid in self._running:
            return
        stack = self._new(uid)
        await stack.adopt()
        if uid in self._running:  # a run that starts it was quicker
            await stack.close()
        elif stack.is_looked_after:
            self._running[uid] = stack

    async def stop(self, uid: str, unused: Callable[[], Awaitable[None]]) -> bool:
        """Stop all services of a session; containers and volumes stay. False if a run has brought them up again.

        `unused` raises if a run has taken the session: see `RunningStack.stop`. Raises PodmanError, PodmanUnavailable,
        and whatever `unused` raises.
        """
        stack = self.of(uid)
        stopped = await stack.stop(unused)
        if stack.resting and self._running.get(uid) is stack:
            del self._running[uid]
        return stopped

    async def forget(self, uid: str) -> None:
        """The session, or the run without one, is gone: what its stack has is removed elsewhere."""
        if (stack := self._running.pop(uid, None)) is not None:
            await stack.close()

    async def close(self) -> None:
        """Stop looking after all of them; the next operator goes on."""
        for uid in [*self._running]:
            await self.forget(uid)

    def _new(self, uid: str) -> RunningStack:
        return RunningStack(
            uid, self._parts, self._locks, lambda: self._changed(uid), lambda told: self._tell(uid, told)
        )
