"""GET /jobs, GET and DELETE /jobs/{id}: a job is any AgentRun of the namespace, whoever has created it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Path, Query

from stromboli import naming
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi import listing
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.errors import Refusal, errors_of, invalid
from stromboli.httpapi.listing import MOST, Limit, Line, Offset
from stromboli.httpapi.running import answers, launch
from stromboli.httpapi.shapes.job import CancelAnswer, JobAnswer, JobsAnswer
from stromboli.httpapi.translate import job as translate
from stromboli.kube import objects
from stromboli.kube.caller import annotation
from stromboli.kube.rows import Row
from stromboli.kube.user import RUNS, Object
from stromboli.models.run import Run
from stromboli.plan.answered import JobStatus
from stromboli.reasons import RunCondition

router = APIRouter(tags=["jobs"])

READ = 10.0  # seconds for all of what an agent said, of which the status has only the beginning
WAIT = 20.0  # seconds for a canceled run to end: the CLI has 10 s after SIGTERM, unless the run says otherwise
TRIES = 10  # of a cancel, while the operator changes the run, too
_AT_ONCE = 4  # runs that are read at a time: each may have a prompt of a megabyte
_COLUMNS = (RunCondition.Succeeded, "Reason")  # of the CRD
_NOT_FOUND, _CONFLICT = 404, 409

Id = Annotated[str, Path(description="The AgentRun's name.", examples=["run-4f0c1d2e3a5b"])]


@router.get("/jobs", summary="Look at runs", response_model_exclude_none=True)
async def list_jobs(
    caller: CallerOf,
    line: Line,
    status: Annotated[JobStatus | None, Query(description="Only those in this state.")] = None,
    session_id: Annotated[str, Query(description="Only those of this session.")] = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> JobsAnswer:
    """The runs of the namespace, the newest first, also those that kubectl has created."""
    if session_id and not naming.is_object_name(session_id):
        raise invalid("session_id", "no session can have this name")
    fields = f"spec.session.name={session_id}" if session_id else ""
    async with listing.turn(line):
        rows = [row async for row in listing.rows(caller, RUNS, *_COLUMNS, fields=fields) if _may_be(row, status)]
        rows.sort(key=lambda row: (row.created, row.name), reverse=True)
        return await _answer(caller, rows, status, min(limit, MOST), offset)


@router.get("/jobs/{id}", summary="Look at a run", response_model_exclude_none=True, responses=errors_of(404))
async def get_job(caller: CallerOf, id: Id) -> JobAnswer:
    """A run as it is now."""
    wire = await _read(caller, id)
    run = launch.of_object(wire)
    output = None
    if run.run.status.is_finished:
        with contextlib.suppress(TimeoutError):  # what the status has of it is better than no answer
            async with asyncio.timeout(READ):
                output = await answers.output(caller, run, run.run, annotation(wire, launch.FORM) or "text")
    return translate.job(run.run, output)


@router.delete("/jobs/{id}", summary="Cancel a run", responses=errors_of(404, 409))
async def cancel_job(caller: CallerOf, id: Id) -> CancelAnswer:
    """Stop a run for good. The answer comes once it has ended, or after a while: it will end in any case."""
    canceled = await _cancel(caller, id)
    try:
        async with asyncio.timeout(WAIT):
            ended = await _ended(caller, canceled)
    except (TimeoutError, ApiRefused, ApiUnreachable):  # it is canceled all the same
        ended = None
    if ended is not None and translate.job(ended).status is not JobStatus.cancelled:
        raise _too_late(ended)
    return CancelAnswer(job_id=id)


async def _answer(caller: Caller, rows: Sequence[Row], status: JobStatus | None, most: int, offset: int) -> JobsAnswer:
    skipped = 0
    if status is None or all(_is_sure(row) for row in rows):
        rows, skipped = rows[offset:], offset
    chosen: list[JobAnswer] = []
    more = False
    async with aclosing(_jobs(caller, rows)) as found:
        async for job in found:
            if status not in (None, job.status):
                continue
            if skipped < offset:
                skipped += 1
            elif more := len(chosen) == most:
                break
            else:
                chosen.append(job)
    return JobsAnswer(jobs=chosen, limit=most, offset=offset, has_more=more)


async def _jobs(caller: Caller, rows: Sequence[Row]) -> AsyncGenerator[JobAnswer, None]:
    """The jobs of these rows, in their order, without those that are gone meanwhile."""
    for at in range(0, len(rows), _AT_ONCE):
        for job in await asyncio.gather(*(_job(caller, row.name) for row in rows[at : at + _AT_ONCE])):
            if job is not None:
                yield job


async def _job(caller: Caller, name: str) -> JobAnswer | None:
    found = await caller.cluster.find(RUNS, caller.namespace, name)
    return None if found is None else translate.job(objects.run(found))


async def _read(caller: Caller, name: str) -> Object:
    """The run of that name, as it is read. Raises Refusal (404)."""
    if naming.is_object_name(name) and (found := await caller.cluster.find(RUNS, caller.namespace, name)) is not None:
        return found
    raise Refusal(404, f"there is no job {name[:253]} in the namespace {caller.namespace}; GET /jobs lists all")


async def _cancel(caller: Caller, name: str) -> Run:
    """The run, with `cancel` set. Raises Refusal (404, 409)."""
    for _ in range(TRIES):
        run = objects.run(await _read(caller, name))
        if run.status.is_finished:
            raise _too_late(run)
        if run.is_canceled:
            return run
        change = {"metadata": {"uid": run.uid, "resourceVersion": run.version}, "spec": {"cancel": True}}
        try:
            return objects.run(await caller.cluster.patch(RUNS, caller.namespace, name, change))
        except ApiRefused as e:
            if e.status not in (_NOT_FOUND, _CONFLICT):
                raise
    raise Refusal(503, f"the job {name} changes all the time, so it is not canceled; try again")


async def _ended(caller: Caller, run: Run) -> Run | None:
    """How a run has ended; None if it is gone."""
    async with aclosing(caller.cluster.states(RUNS, caller.namespace, run.name)) as states:
        async for state in states:
            if state is None or (now := objects.run(state)).uid != run.uid:
                return None
            if now.status.is_finished:
                return now
    raise AssertionError("the states of an object have no end")


def _too_late(run: Run) -> Refusal:
    state = translate.job(run).status
    return Refusal(409, f"the job {run.name} has ended already: it is {state}", details={"status": state})


def _may_be(row: Row, status: JobStatus | None) -> bool:
    return status is None or status in translate.possible(*row.cells)


def _is_sure(row: Row) -> bool:
    return len(translate.possible(*row.cells)) == 1
