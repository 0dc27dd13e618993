"""Creates the run that a request asks for, once, whatever is repeated or breaks off in between.

With an `Idempotency-Key`, the names of the run and of its session follow from the caller and the key, so a request that
is repeated finds the run of the first one. Without one they are random; but where the API server's answer to the
creation was lost, the run's fate is found out by its name, so that the caller is never told to try again while a prompt
may have been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stromboli.errors import ApiAbsent, ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.running import sessions
from stromboli.httpapi.shapes.run import RunRequest
from stromboli.httpapi.translate.request import manifest, output_format
from stromboli.kube import objects
from stromboli.kube.caller import FIRST, LAST, annotation
from stromboli.kube.user import RUNS, Object
from stromboli.models.run import Run
from stromboli.naming import GROUP
from stromboli.plan import answered

KEY = "Idempotency-Key"
LONGEST_KEY = 255  # characters
_TRIES = 4  # of a creation that the API server answers with an error of its own
REQUEST = f"{GROUP}/request-hash"  # annotation: of the request that the run was created for
FORM = f"{GROUP}/output-format"  # annotation: the form of `output` that the request asked for, unless it is text


IsGone = Callable[[], Awaitable[bool]]  # whether the client has hung up, who alone could repeat the request


@dataclass(frozen=True, slots=True)
class Launched:
    """A run that exists, as it was when it was created, or found."""

    run: Run

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def uid(self) -> str:
        return self.run.uid

    @property
    def session(self) -> str:
        """The ID of its session, which is answered; empty without one."""
        return answered.session_id(self.run)


@dataclass(frozen=True, slots=True)
class _Names:
    run: str
    session: str
    request: str  # identifies the request: of two with the same run's name, whether they ask for the same


async def launched(caller: Caller, request: RunRequest, key: str, is_gone: IsGone) -> Launched:
    """Create the run. `key` is the request's idempotency key, or empty.

    Raises Refusal (400, 404, 409), ApiRefused, and ApiUnreachable only if the run does not exist.
    """
    names = await _names(caller, request, key)
    if key and (found := await _found(caller, names)) is not None:
        return found
    annotations = {REQUEST: names.request}
    if (form := output_format(request)) != "text":
        annotations[FORM] = form
    manifest(request, name=names.run, namespace=caller.namespace, annotations=annotations)  # before a session is made
    session = await sessions.choose(caller, request.claude, names.run, names.session)
    body = manifest(request, name=names.run, namespace=caller.namespace, session=session, annotations=annotations)
    try:
        return await _created(caller, names, body, is_gone)
    except ApiRefused:
        if session is not None:
            with contextlib.suppress(ApiRefused, ApiUnreachable):  # what is to be said is why there is no run
                await sessions.discard(caller, session["name"], names.run)
        raise


def key_of(given: str | None) -> str:
    """The value of the header KEY. Raises Refusal."""
    key = given or ""
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise Refusal(400, f"the header `{KEY}` has at most {LONGEST_KEY} printable characters", details={"field": KEY})
    return key


async def _names(caller: Caller, request: RunRequest, key: str) -> _Names:
    if not key:
        return _Names(f"run-{secrets.token_hex(6)}", str(uuid.uuid4()), secrets.token_hex(32))
    seed = "\0".join((caller.namespace, await caller.cluster.user(), key)).encode()
    asked = hashlib.sha256(request.model_dump_json(by_alias=True).encode()).hexdigest()
    fresh = uuid.UUID(bytes=hashlib.sha256(b"session\0" + seed).digest()[:16], version=4)
    return _Names(f"run-{hashlib.sha256(seed).hexdigest()[:24]}", str(fresh), asked)


async def _created(caller: Caller, names: _Names, body: Object, is_gone: IsGone) -> Launched:
    """Create it, or find it. A creation whose outcome is unknown is repeated while its caller waits: its name can be
    taken only once.
    """
    pause, refused, known = FIRST, 0, True
    while True:
        try:
            return of_object(await caller.cluster.create(RUNS, caller.namespace, body))
        except ApiRefused as e:
            if e.status == 409 and (found := await _surely_found(caller, names)) is not None:
                return found
            if e.status < 500:
                raise
            refused += 1
            if refused >= _TRIES and await _surely_found(caller, names) is None:
                raise
        except ApiUnreachable as e:
            if known and isinstance(e, ApiAbsent):
                raise
            if await is_gone():
                if (found := await _surely_found(caller, names)) is None:
                    raise
                return found
            refused, known = 0, False
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST)


async def _surely_found(caller: Caller, names: _Names) -> Launched | None:
    """The run of that name; asks until the API server says whether it exists."""
    pause = FIRST
    while True:
        try:
            return await _found(caller, names)
        except (ApiUnreachable, ApiRefused) as e:
            if isinstance(e, ApiRefused) and not e.is_transient:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST)


async def _found(caller: Caller, names: _Names) -> Launched | None:
    """The run that the same request has created before. Raises Refusal if another one has."""
    run = await caller.cluster.find(RUNS, caller.namespace, names.run)
    if run is None:
        return None
    if annotation(run, REQUEST) != names.request:
        raise Refusal(
            409,
            f"another request had the same `{KEY}`: its run is {names.run}; use a new key for each request",
            "IdempotencyKeyReused",
            {"job_id": names.run},
        )
    return of_object(run)


def of_object(wire: Object) -> Launched:
    """A run as it was read."""
    return Launched(objects.run(wire))
