"""Judges an ended attempt: the outcome that plan/outcome.py decides from its records, with the attempt's own cost.

A success with `claude.jsonSchema` needs one thing more: a structured answer that is valid by it (observe/schemas.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pydantic import JsonValue

from stromboli import naming, visible
from stromboli.kube.client import Cluster
from stromboli.models.objects import fields
from stromboli.models.run import Run
from stromboli.observe.attempts import Trace
from stromboli.observe.schemas import Schemas
from stromboli.perform.sessions.costs import Costs
from stromboli.plan import outcome
from stromboli.plan.answer import Answer
from stromboli.plan.follow import Finish
from stromboli.plan.outcome import Outcome
from stromboli.plan.redaction import Secrets
from stromboli.reasons import Reason


class Judge:
    """Judges ended attempts."""

    def __init__(self, cluster: Cluster, schemas: Schemas, costs: Costs) -> None:
        self._cluster = cluster
        self._schemas = schemas
        self._costs = costs

    async def ended(self, run: Run, trace: Trace, said: Finish) -> Outcome:
        """The outcome of the run's last attempt, with the secrets that it was given redacted. Idempotent.

        Raises ClusterUnavailable.
        """
        found = await asyncio.to_thread(  # ten MiB of output may have to be read
            outcome.of,
            trace.records,
            trace.secrets,
            container_exit=None if trace.state is None else trace.state.exit_code,
            oom=trace.state is not None and trace.state.oom_killed,
            timeout=said.timeout,
            ran=said.ran,
            too_large=trace.seen.too_large,
            fail_on_denied=run.spec.get("failOnDenied") is True,
            ended=said.ended_at,
        )
        if found.reason is Reason.Completed and found.answer is not None:
            found = await self._by_schema(run, found, found.answer, trace.secrets)
        if found.answer is None:
            return found
        if not run.is_kept:
            # A later attempt may have resumed the conversation of an earlier one, whose cost is then in the total.
            own = found.answer.own_cost_usd if len(run.status.attempts) > 1 else None
            return found if own is None else replace(found, answer=replace(found.answer, cost_usd=own))
        name = naming.attempt(run.uid, run.status.attempts[-1].number)
        return replace(found, answer=await self._costs.of_attempt(run.session_uid, name, found.answer))

    async def _by_schema(self, run: Run, found: Outcome, answer: Answer, secrets: Secrets) -> Outcome:
        """The outcome of an agent that was successful, by the run's schema, if it has one."""
        schema = await self._schema(run)
        if schema is None:
            return found
        why = answer.unfit
        if why is None:
            why = await self._schemas.violation(schema, answer.given, run.namespace)
            why = None if why is None else visible.text(secrets.text(why))
        return found if why is None else outcome.unfit(found, why)

    async def _schema(self, run: Run) -> JsonValue | None:
        """`claude.jsonSchema`, which may have to be read: a large run is kept without it."""
        if run.is_whole:
            return _schema_of(run)
        async with self._cluster.whole_run(run.namespace, run.name) as whole:
            return None if whole is None or whole.uid != run.uid else _schema_of(whole)


def _schema_of(run: Run) -> JsonValue | None:
    schema: JsonValue | None = fields(run.spec.get("claude")).get("jsonSchema")
    return schema
