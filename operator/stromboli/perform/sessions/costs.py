"""The cost of a single attempt in a session: the CLI reports the total of the conversation, over all of its runs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from stromboli.attempt.site import Site
from stromboli.errors import LocalFailure
from stromboli.node.serial import SessionLocks
from stromboli.plan.answer import Answer

log = logging.getLogger(__name__)


class Costs:
    """The costs of attempts in the sessions of this node."""

    def __init__(self, site: Site, locks: SessionLocks) -> None:
        self._site = site
        self._locks = locks

    async def of_attempt(self, uid: str, attempt: str, answer: Answer) -> Answer:
        """The attempt's answer with its own cost instead of the total of the session `uid`. Idempotent.

        Where the CLI did not say what an attempt cost, the next one's cost includes it.
        """
        if answer.cost_usd is None:
            return answer
        folder = self._site.folder(uid)
        async with self._locks.hold(uid):
            try:
                state = await asyncio.to_thread(folder.read_state)
            except LocalFailure as error:
                log.warning("the cost of attempt %s includes that of the attempts before it: %s", attempt, error)
                return answer
            before = state.spent_before if state.spent_by == attempt else state.spent
            new = replace(state, spent=max(answer.cost_usd, before), spent_before=before, spent_by=attempt)
            if new != state and folder.path.exists():  # otherwise the session was deleted
                await asyncio.to_thread(folder.write_state, new)
        return replace(answer, cost_usd=max(answer.cost_usd - before, 0.0))
