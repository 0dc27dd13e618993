"""Which session a run is in, by what the request says: a new one, one that exists, a copy of one, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.errors import ApiRefused
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal, invalid
from stromboli.httpapi.shapes.run import ClaudeOptions
from stromboli.kube.user import SESSIONS, Object
from stromboli.naming import API_VERSION, GROUP, is_object_name

MADE_FOR = f"{GROUP}/made-for"  # annotation: the run that a session was created for

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
    """Delete the session if it was created for that run, which was refused."""
    try:
        found = await caller.cluster.get(SESSIONS, caller.namespace, name)
        if _made_for(found) == run and not found.get("status"):
            await caller.cluster.delete(SESSIONS, caller.namespace, name, uid=found["metadata"]["uid"])
    except ApiRefused as e:
        if e.status not in (404, 409):
            raise


async def _existing(caller: Caller, name: str) -> str:
    try:
        await caller.cluster.get(SESSIONS, caller.namespace, name)
    except ApiRefused as e:
        if e.status == 404:
            raise Refusal(
                404, f"there is no session {name}; leave `resume` out to begin one", details={"session_id": name}
            ) from e
        raise
    return name


async def _last(caller: Caller, field: str) -> str:
    """The session that was used last."""
    last, when = "", ""
    following = None
    while following != "":
        page = await caller.cluster.page(SESSIONS, caller.namespace, following=following or "")
        following = page.following
        for session in page.items:
            used = str((session.get("status") or {}).get("lastUsed") or "")
            if used > when:
                last, when = session["metadata"]["name"], used
    if not last:
        raise invalid(f"claude.{field}", "finds no session that was used before; give its `session_id`")
    return last


async def _created(caller: Caller, name: str, run: str) -> None:
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "AgentSession",
        "metadata": {"name": name, "namespace": caller.namespace, "annotations": {MADE_FOR: run}},
        "spec": {},
    }
    try:
        await caller.cluster.create(SESSIONS, caller.namespace, body)
    except ApiRefused as e:
        if e.status != 409:
            raise
        found = await caller.cluster.get(SESSIONS, caller.namespace, name)
        if _made_for(found) != run:  # otherwise an earlier try of the same request made it
            raise Refusal(
                409,
                f"the session {name} exists; set `resume` to continue it, or choose another ID",
                "AlreadyExists",
                {"session_id": name},
            ) from e


def _made_for(session: Object) -> str:
    return str((session["metadata"].get("annotations") or {}).get(MADE_FOR) or "")
