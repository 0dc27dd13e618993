"""Which session a run is in, by what the request says: a new one, one that exists, a copy of one, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stromboli.errors import ApiAbsent, ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal, invalid
from stromboli.httpapi.shapes.run import ClaudeOptions
from stromboli.kube import objects
from stromboli.kube.caller import annotation
from stromboli.kube.user import SESSIONS
from stromboli.models.session import Session
from stromboli.naming import API_VERSION, GROUP, is_object_name

MADE_FOR = f"{GROUP}/made-for"  # annotation: the run that a session was created for
_PAUSES = (0.2, 0.4, 0.8, 1.6)  # seconds before a creation whose answer was lost is repeated

Choice = Mapping[str, str]  # `spec.session` of an AgentRun


async def choose(caller: Caller, claude: ClaudeOptions, run: str, fresh: str) -> Choice | None:
    """The run's session; None without one. `run` is the run's name, `fresh` the ID of a session that is new.

    A session that the caller has named, and that is new, is created here: so only one of two calls can have the name.
    Raises Refusal (400, 404, 409), ApiRefused, ApiUnreachable.
    """
    given = claude.session_id or ""
    if given and not is_object_name(given):
        raise invalid(
            "claude.session_id", "is not the ID of a session; use a UUID, or lower case letters, digits, - and . only"
        )
    if claude.no_persistence:
        if claude.resume or claude.continue_ or claude.fork_session:
            raise invalid("claude.no_persistence", "excludes resume, continue and fork_session; leave one out")
        return None
    if claude.fork_session:
        return {"name": fresh, "fork": await _existing(caller, given or await _last(caller, "fork_session"))}
    if claude.resume and not given:
        raise invalid("claude.session_id", "is missing; resume needs the ID of the session, as /run has answered it")
    if claude.resume or claude.continue_:
        return {"name": await _existing(caller, given or await _last(caller, "continue"))}
    if given:
        await _created(caller, given, run)
        return {"name": given}
    return {"name": fresh}


async def discard(caller: Caller, name: str, run: str) -> None:
    """Delete the session if it was created for that run, which was refused. Raises ApiRefused, ApiUnreachable."""
    found = await caller.cluster.get(SESSIONS, caller.namespace, name)
    session = objects.session(found)
    if annotation(found, MADE_FOR) == run and not session.status.has_conditions:
        await caller.cluster.delete(SESSIONS, caller.namespace, name, uid=session.uid)


async def _existing(caller: Caller, name: str) -> str:
    if await caller.cluster.find(SESSIONS, caller.namespace, name) is None:
        raise Refusal(404, f"there is no session {name}; leave `resume` out to begin one", details={"session_id": name})
    return name


async def _last(caller: Caller, field: str) -> str:
    """The session that was used last."""
    last: Session | None = None
    async for page in caller.cluster.pages(SESSIONS, caller.namespace):
        for session in map(objects.session, page.items):
            if session.status.last_used and (last is None or _when(session) > _when(last)):
                last = session
    if last is None:
        raise invalid(f"claude.{field}", "finds no session that was used before; give its `session_id`")
    return last.name


async def _created(caller: Caller, name: str, run: str) -> None:
    """Create it for that run. A creation whose outcome is unknown is repeated, so that whoever asks again, under the
    name of another run, does not find in the way what this call has made. Raises Refusal (409), ApiRefused,
    ApiUnreachable.
    """
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": Session.KIND,
        "metadata": {"name": name, "namespace": caller.namespace, "annotations": {MADE_FOR: run}},
        "spec": {},
    }
    known = True  # that none was created
    for pause in (*_PAUSES, None):
        try:
            await caller.cluster.create(SESSIONS, caller.namespace, body)
            return
        except ApiRefused as e:
            if e.status == 409 and await _is_made_for(caller, name, run):
                return
            if e.status == 409:
                raise Refusal(
                    409,
                    f"the session {name} exists; set `resume` to continue it, or choose another ID",
                    "AlreadyExists",
                    {"session_id": name},
                ) from e
            if e.status < 500 or pause is None:
                raise
            known = False
        except ApiUnreachable as e:
            if pause is None or (known and isinstance(e, ApiAbsent)):
                raise
            known = False
        await asyncio.sleep(pause)


async def _is_made_for(caller: Caller, name: str, run: str) -> bool:
    """Whether an earlier try of the same request has made the session."""
    return annotation(await caller.cluster.get(SESSIONS, caller.namespace, name), MADE_FOR) == run


def _when(session: Session) -> datetime:
    assert session.status.last_used is not None, "the caller has looked"
    return session.status.last_used
