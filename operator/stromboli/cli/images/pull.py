"""`stromboli images pull`: an AgentImage is created, and followed until its image is on the node or cannot get there.

What its status means is in state.py. What was created is deleted if it does not lead to an image: an operator that
nobody asks for the image any more breaks off its pull.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from stromboli import naming
from stromboli.cli import exitcodes
from stromboli.cli.images import state
from stromboli.cli.images.state import Ended, Failed, Fetching
from stromboli.errors import ClusterUnavailable, HttpFailed, HttpRefused, InvalidInput, LocalFailure
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.kube.image_objects import ImageObjects
from stromboli.models.image import AgentImage
from stromboli.progress import Progress, Step

FIRST, LAST = 0.1, 0.5  # seconds between two looks at the object
UNSEEN = 10.0  # seconds without a status after which it is said that no operator has seen the object
WINDOW = 10.0  # seconds over which the speed is measured
_MB = 1_000_000


class _Gone(LocalFailure):
    """The object that is followed is no longer there."""


def pull(kubeconfig: Path, namespace: str | None, text: str, secrets: Sequence[str] = ()) -> Ended:
    """Pull an image to the node, with the credentials in these Secrets. Raises LocalFailure, whose code says why it
    cannot be had.
    """
    try:
        image = reference.parse(text)
    except InvalidInput as e:
        raise LocalFailure(e.message, "write an image's name, such as python:3.12", 2) from e
    if namespace is not None and not naming.is_object_name(namespace):
        raise LocalFailure(f"{namespace!r} is not the name of a namespace", code=2)
    return asyncio.run(_pull(kubeconfig, namespace, image, secrets))


async def _pull(kubeconfig: Path, namespace: str | None, image: Reference, secrets: Sequence[str]) -> Ended:
    async with ImageObjects(kubeconfig, namespace) as objects:
        with _failures():
            async with _wanted(objects, image, secrets) as wanted:
                if isinstance(now := state.of(wanted), Ended):
                    return now
                with Progress().step(f"pulling {image}") as step:
                    return await _followed(objects, wanted, _Shown(step))


@asynccontextmanager
async def _wanted(objects: ImageObjects, image: Reference, secrets: Sequence[str]) -> AsyncIterator[AgentImage]:
    """The AgentImage of that image, created unless there is one; what was created is deleted if the block fails."""
    async for found in objects.all():
        if _is_of(found, image):
            yield found
            return
    created = await _created(objects, name := _name(image), image, secrets)
    if created is None:
        found_meanwhile = await objects.get(name)
        if found_meanwhile is None or not _is_of(found_meanwhile, image):
            raise LocalFailure(f"there is an AgentImage {name} of another image", "delete it, and try again")
        yield found_meanwhile
        return
    try:
        yield created
    except _Gone:  # one of that name that is there now is somebody else's
        raise
    except BaseException:  # an interrupt, too, must not leave the object that was created here
        await asyncio.shield(asyncio.ensure_future(objects.delete(created.name)))
        raise


async def _created(objects: ImageObjects, name: str, image: Reference, secrets: Sequence[str]) -> AgentImage | None:
    """A new one; None if there is one of that name. After an interruption there is none that was created here."""
    creating = asyncio.ensure_future(objects.create(name, str(image), secrets))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        if (created := await creating) is not None:
            await objects.delete(created.name)
        raise


def _is_of(found: AgentImage, image: Reference) -> bool:
    try:
        return not found.is_being_deleted and reference.parse(found.reference) == image
    except InvalidInput:
        return False


def _name(image: Reference) -> str:
    """The name of the object for an image: readable, and another one for each image."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{image.path}-{image.tag or ''}".lower()).strip("-")[:40].strip("-")
    return f"{words}-{hashlib.sha256(str(image).encode()).hexdigest()[:8]}"


async def _followed(objects: ImageObjects, image: AgentImage, shown: _Shown) -> Ended:
    """Follow the object to the end. Raises LocalFailure."""
    pause = FIRST
    while True:
        match state.of(image):
            case Ended() as ended:
                shown.complete()
                return ended
            case Failed(message, code):
                raise LocalFailure(message, code=code)
            case Fetching() as fetching:
                shown.fetching(fetching)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LAST)
        found = await objects.get(image.name)
        if found is None or found.uid != image.uid or found.is_being_deleted:
            raise _Gone(f"AgentImage {image.label} was deleted meanwhile")
        image = found


class _Shown:
    """A step of the command line that shows bytes, layers and speed."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._bytes: deque[tuple[float, int]] = deque()
        self._last = Fetching("")

    def fetching(self, now: Fetching) -> None:
        if not now.size:
            unseen = now.unseen and self._step.seconds > UNSEEN
            self._step.note("no operator has seen the AgentImage yet; is it running?" if unseen else now.message)
            return
        self._step.done(now.fetched, now.size)
        self._last = now
        speed = self._speed(now.fetched)
        layers = f"{now.complete} of {now.layers} layers" if now.layers else ""
        self._step.note(", ".join(filter(None, (layers, speed))))

    def complete(self) -> None:
        """All of it is here."""
        if size := self._last.size:
            self._step.done(size, size)
        self._step.note(f"{self._last.layers} layers" if self._last.layers else "")

    def _speed(self, fetched: int) -> str:
        now = time.monotonic()
        if not self._bytes or self._bytes[-1][1] != fetched:
            self._bytes.append((now, fetched))
        while len(self._bytes) > 2 and now - self._bytes[0][0] > WINDOW:
            self._bytes.popleft()
        (began, before), (ended, after) = self._bytes[0], self._bytes[-1]
        return f"{(after - before) / (ended - began) / _MB:.1f} MB/s" if ended > began else ""


@contextmanager
def _failures() -> Iterator[None]:
    """What the API server refuses, as a failure of the command."""
    try:
        yield
    except HttpRefused as e:
        if e.status == 401:
            hint = "use a kubeconfig that the cluster accepts; KUBECONFIG selects it"
            raise LocalFailure(str(e), hint, exitcodes.NOT_ALLOWED) from e
        if e.status == 403:
            hint = "the ClusterRole stromboli-user, bound in the namespace, allows it"
            raise LocalFailure(str(e), hint, exitcodes.NOT_ALLOWED) from e
        raise LocalFailure(f"the API server refuses: {e}") from e
    except (HttpFailed, ClusterUnavailable) as e:
        raise LocalFailure(f"the API server does not respond: {e}", "`stromboli up` starts whatever is down") from e
    except ValueError as e:
        raise LocalFailure(f"the API server's answer is not one: {e}") from e
