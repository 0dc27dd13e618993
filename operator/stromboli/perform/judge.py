"""Judges an ended attempt: the outcome that plan/outcome.py decides from its records, with the attempt's own cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stromboli import naming
from stromboli.models.run import Run
from stromboli.observe.attempts import Trace
from stromboli.perform.sessions.costs import Costs
from stromboli.plan import outcome
from stromboli.plan.follow import Finish
from stromboli.plan.outcome import Outcome


class Judge:
    """Judges ended attempts."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs

    async def ended(self, run: Run, trace: Trace, said: Finish) -> Outcome:
        """The outcome of the run's last attempt, with the secrets that it was given redacted. Idempotent."""
        found = await asyncio.to_thread(  # ten MiB of output may have to be read
            outcome.of,
            trace.records,
            trace.secrets,
            container_exit=None if trace.state is None else trace.state.exit_code,
            oom=trace.state is not None and trace.state.oom_killed,
            timeout=said.timeout,
            ran=said.ran,
            too_large=trace.seen.too_large,
        )
        if not run.is_kept or found.answer is None:
            return found
        name = naming.attempt(run.uid, run.status.attempts[-1].number)
        return replace(found, answer=await self._costs.of_attempt(run.session_uid, name, found.answer))
