"""Serves what a run's steps have written: of any attempt, from any offset, and as it is written. Called by api/logs.py.

Reading and following work on the attempt's folder alone (attempt/outputs.py, node/watches.py). When an attempt is over
is known from the run's status, never from what an agent can write; only the end of a hook is taken from the records.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stromboli import naming
from stromboli.attempt import outputs, records, seals, times
from stromboli.attempt.site import Site
from stromboli.models.run import AttemptEntry, Run
from stromboli.node.watches import LOOK, Watches
from stromboli.perform.logs.asked import Answer, Asked, NoOutput, State
from stromboli.perform.logs.services import ServiceLogs
from stromboli.plan import outcome
from stromboli.plan.masking import Masks
from stromboli.plan.redaction import KEYS, SHORTEST
from stromboli.store import Store
from stromboli.supervision import set_within

CHUNK = 16 * 1024  # bytes of output that are read at a time
LINE = 64 * 1024  # bytes before an offset in which the beginning of its line is looked for
HELD = 1.0  # seconds for which less than SHORTEST bytes that may begin a secret are held back while nothing follows
LAUNCH = 10.0  # seconds for which a follower of an attempt that has not started waits for the beginning of the answer
CHECK = 1.0  # seconds after which what is held back is looked at again, if nothing changes

# The run by (namespace, name), with its attempts also after its end; None if there is none. Raises ClusterUnavailable.
Lookup = Callable[[str, str], Awaitable[Run | None]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A step's output. `run` is as it was when it was asked for."""

    run: Run
    number: int
    out: Path
    step: str
    masks: Masks


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of an output from `offset` on. After them, `begun` bytes that may begin a secret are held back."""

    offset: int
    data: bytes
    begun: int


class Outputs:
    """The outputs of the runs of this node."""

    def __init__(
        self,
        lookup: Lookup,
        store: Store,
        site: Site,
        node: str,
        services: ServiceLogs,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lookup = lookup
        self._services = services
        self._store = store
        self._site = site
        self._node = node
        self._now = now
        self._watches = Watches()

    async def open(self, namespace: str, name: str, asked: Asked) -> Answer:
        """What is asked for of this run. Raises NoOutput, ClusterUnavailable."""
        run = await self._lookup(namespace, name)
        if run is None:
            raise NoOutput("missing", f"the namespace {namespace} has no AgentRun {name}")
        if asked.uid and run.uid != asked.uid:
            raise NoOutput("replaced", f"the AgentRun {name} was deleted and created again: its UID is now {run.uid}")
        _checked_step(asked.step)
        attempts = run.status.attempts
        if not attempts:
            return Answer(0, asked.offset, State.ended if run.status.is_finished else State.waiting, _nothing())
        if run.status.node != self._node:
            raise NoOutput("elsewhere", f"the output of {name} is on node {run.status.node or 'of no name'}; try again")
        attempt = _chosen(attempts, asked.attempt)
        # Whoever may write statuses can name any session in one. That the run has been in it, the node alone says.
        place = self._site.folder(run.session_uid).attempt(run.uid, attempt.number)
        if not os.path.lexists(place):
            raise NoOutput("missing", f"the output of attempt {attempt.number} of {name} is no longer on the node")
        if asked.service:
            return await self._services.open(
                run, attempt.number, asked, lambda: self._is_over(run, attempt.number, place / "out")
            )
        return await self._of_attempt(run, attempt, asked)

    async def _of_attempt(self, run: Run, attempt: AttemptEntry, asked: Asked) -> Answer:
        folder, number = self._site.folder(run.session_uid), attempt.number
        place = folder.attempt(run.uid, number)
        if not await self._has_started(run, number, wait=asked.follow):
            over = self._is_over(run, number, place / "out")
            return Answer(number, asked.offset, State.ended if over else State.waiting, _nothing())
        secrets = KEYS
        if asked.step != outputs.SUPERVISOR:  # whose text is the operator's
            secrets = await asyncio.to_thread(folder.read_given, naming.attempt(run.uid, number))
        if not secrets.known:
            raise NoOutput("withheld", outcome.WITHHELD)
        where = _Place(run, number, place / "out", asked.step, Masks(secrets))
        state = await self._state(where)
        if state is None:
            raise NoOutput("invalid", await asyncio.to_thread(_what_there_is, where))
        offset = asked.offset
        if asked.since is not None:
            offset = max(offset, await asyncio.to_thread(_since, where, attempt, self._now() - asked.since))
        until = None if asked.follow and state is not State.ended else await asyncio.to_thread(_end, where)
        first = await asyncio.to_thread(_begin, where, offset)
        limited = first + asked.limit if asked.limit is not None else None
        return Answer(number, first, state, self._pieces(where, first, until, limited))

    async def _has_started(self, run: Run, number: int, *, wait: bool) -> bool:
        """Whether anything can have run. Until then there is no output, and it is not final which secrets an attempt is
        given; so whoever follows waits for that, for a while.
        """
        place = self._site.folder(run.session_uid).attempt(run.uid, number)
        until = time.monotonic() + (LAUNCH if wait else 0.0)
        while await asyncio.to_thread(seals.is_untouched, place):
            if time.monotonic() >= until or self._is_over(run, number, place / "out"):
                return False
            await asyncio.sleep(LOOK)
        return True

    async def _pieces(self, place: _Place, at: int, until: int | None, limit: int | None) -> AsyncIterator[bytes]:
        """The output from an offset on: to what was its end, or as it is written until the step has ended."""
        names = {outputs.file_of(place.step), records.RECORD}
        with self._watches.of(place.out, names, partial(self._is_over, place.run, place.number, place.out)) as watch:
            held_since: float | None = None
            while limit is None or at < limit:
                changed = watch.now
                # In this order: what is written before the end is read after it was seen.
                ended = await self._has_ended(place)
                release = held_since is not None and time.monotonic() - held_since > HELD
                found = await asyncio.to_thread(_piece, place, at, until, last=ended, release=release)
                if found.offset != at:  # it was dropped meanwhile: the offsets of what follows would not be true
                    return
                if data := found.data if limit is None else found.data[: limit - at]:
                    held_since = None
                    at += len(data)
                    yield data
                    continue
                if until is not None or ended:
                    return
                if held_since is None and found.begun:
                    held_since = time.monotonic()
                await set_within(changed, CHECK)

    async def _has_ended(self, place: _Place) -> bool:
        """Whether the step has ended, or can never begin."""
        if place.step in (records.AGENT, "stderr", outputs.SUPERVISOR):
            return self._is_over(place.run, place.number, place.out)
        return await self._state(place) in (State.ended, None)

    async def _state(self, place: _Place) -> State | None:
        """How far the step is; None if it can never begin any more."""
        over = self._is_over(place.run, place.number, place.out)
        if place.step == outputs.SUPERVISOR:
            return State.ended if over else State.running
        steps = await asyncio.to_thread(records.steps, place.out)
        names = [records.AGENT if s.hook == records.AGENT else f"{s.hook}[{s.index}]" for s in steps]
        if place.step in (records.AGENT, "stderr"):
            return State.ended if over else State.running if records.AGENT in names else State.waiting
        if place.step not in names:
            return None if over or records.AGENT in names else State.waiting
        index = names.index(place.step)
        ended = over or index < len(names) - 1 or steps[index].finished_at is not None
        return State.ended if ended else State.running

    def _is_over(self, run: Run, number: int, out: Path) -> bool:
        """Whether an attempt has ended: by what is known of the run now, or was when it was asked for."""
        if run.status.is_finished or _has_ended(run, number):
            return True
        if self._store.is_deleted(run.uid) or not os.path.lexists(out):
            return True
        known = self._store.get(run.uid)
        if known is None:  # it has ended; right after a start, the operator does not know any run yet
            return self._store.has_read(run)
        return known.status.is_finished or _has_ended(known, number)


def _has_ended(run: Run, number: int) -> bool:
    last = run.status.attempts[-1] if run.status.attempts else None
    return last is not None and (last.number > number or (last.number == number and last.finished is not None))


def _checked_step(step: str) -> None:
    try:
        outputs.file_of(step)
    except ValueError as error:
        raise NoOutput(
            "invalid",
            f"the parameter `step` is {step[:64]!r}; it can be {records.AGENT}, stderr, {outputs.SUPERVISOR}, or a "
            "hook such as postStart[0]",
        ) from error


def _chosen(attempts: tuple[AttemptEntry, ...], number: int | None) -> AttemptEntry:
    if number is None:
        return attempts[-1]
    for attempt in attempts:
        if attempt.number == number:
            return attempt
    there = ", ".join(str(attempt.number) for attempt in attempts[-20:])
    raise NoOutput("invalid", f"the parameter `attempt` is {number}; the run has the attempts {there}")


def _what_there_is(place: _Place) -> str:
    steps = records.steps(place.out)
    hooks = [f"{step.hook}[{step.index}]" for step in steps if step.hook != records.AGENT]
    there = ", ".join([records.AGENT, "stderr", outputs.SUPERVISOR, *hooks])
    return f"the parameter `step` is {place.step!r}, which attempt {place.number} has not; it has {there}"


def _end(place: _Place) -> int:
    with outputs.output_of(place.out, place.step) as found:
        return found.end


def _begin(place: _Place, offset: int) -> int:
    """The offset of the first byte to serve, if this one is asked for."""
    with outputs.output_of(place.out, place.step) as found:
        return max(offset, _first(found, place.masks))


def _since(place: _Place, attempt: AttemptEntry, seconds: float) -> int:
    """Where the line begins that was being written at that time, in seconds since 1970; a bit before it, if need be."""
    with outputs.output_of(place.out, place.step) as found:
        if attempt.finished is not None and attempt.finished.timestamp() < seconds:
            return found.end
        if (name := outputs.file_of(place.step)) not in times.NAMES:
            return 0  # it is short
        at = min(times.offset(place.out.parent, name, seconds), found.end)
        before = found.part(max(at - LINE, found.begin), at)
    return at - len(before) + before.rfind(b"\n") + 1


def _first(found: outputs.Output | outputs.Text, masks: Masks) -> int:
    """The first byte that may be served: the first ones that are kept may be the rest of a secret."""
    return min(found.begin + masks.reach, found.end) if found.begin else 0


def _piece(place: _Place, at: int, until: int | None, *, last: bool, release: bool) -> _Piece:
    """The next bytes from an offset on, before `until`. Blocks briefly.

    Nothing follows the `last`. `release` says that nothing has followed for a while: then few bytes are not held back.
    """
    masks = place.masks
    with outputs.output_of(place.out, place.step) as found:
        offset = max(at, _first(found, masks))
        start = max(offset - masks.reach, found.begin)
        end = offset + CHUNK + masks.reach
        window = found.part(start, end)
        masked = masks.masked(window, offset - start, last=last and end >= found.end)
        if release and masked.begun < SHORTEST:
            masked = masks.masked(window, offset - start, last=True)
    data = masked.data[:CHUNK]
    return _Piece(offset, data if until is None else data[: max(until - offset, 0)], masked.begun)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
