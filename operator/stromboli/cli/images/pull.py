"""`stromboli images pull`: an AgentImage is created, and followed until its image is on the node or cannot get there.

What its status means is in plan/awaited_image.py. What was created is deleted if it does not lead to an image: an
operator that nobody asks for the image any more breaks off its pull.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stromboli.cli import exitcodes, interrupts
from stromboli.errors import ApiRefused, InvalidInput, LocalFailure
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.kube.image_objects import ImageObjects
from stromboli.kube.user import User
from stromboli.models.image import AgentImage
from stromboli.plan import awaited_image
from stromboli.plan.awaited_image import Ended, Failed, Fetching
from stromboli.progress import Progress, Step

FIRST, LAST = 0.1, 0.5  # seconds between two looks at the object
UNSEEN = 10.0  # seconds without a status after which it is said that no operator has seen the object
WINDOW = 10.0  # seconds over which the speed is measured
_MB = 1_000_000


class _Gone(LocalFailure):
    """The object that is followed is no longer there."""


def pull(user: User, text: str, secrets: Sequence[str] = ()) -> Ended:
    """Pull an image to the node, with the credentials in these Secrets. Raises LocalFailure, whose code says why it
    cannot be had.
    """
    try:
        image = reference.parse(text)
    except InvalidInput as e:
        raise LocalFailure(e.message, "write an image's name, such as python:3.12", 2) from e
    objects = ImageObjects(user)
    with _failures(), _wanted(objects, image, secrets) as wanted:
        if isinstance(now := awaited_image.of(wanted), Ended):
            return now
        with Progress().step(f"pulling {image}") as step:
            return _followed(objects, wanted, _Shown(step))


@contextmanager
def _wanted(objects: ImageObjects, image: Reference, secrets: Sequence[str]) -> Iterator[AgentImage]:
    """The AgentImage of that image, created unless there is one; what was created is deleted if the block fails."""
    for found in objects.all():
        if awaited_image.is_of(found, image):
            yield found
            return
    name, made = awaited_image.name_for(image), _Made(objects)
    try:
        created = made.create(name, image, secrets)
        if created is None:
            found_meanwhile = objects.get(name)
            if found_meanwhile is None or not awaited_image.is_of(found_meanwhile, image):
                raise LocalFailure(f"there is an AgentImage {name} of another image", "delete it, and try again")
            yield found_meanwhile
        else:
            yield created
    except _Gone:  # one of that name that is there now is somebody else's
        raise
    except BaseException:  # an interrupt, too, must not leave the object that was created here
        made.undo()
        raise


class _Made:
    """What is created here; nothing at first."""

    def __init__(self, objects: ImageObjects) -> None:
        self._objects = objects
        self._created: AgentImage | None = None

    def create(self, name: str, image: Reference, secrets: Sequence[str]) -> AgentImage | None:
        """A new AgentImage; None if there is one of that name. It is known after an interruption, too."""
        with interrupts.held_back():
            self._created = self._objects.create(name, str(image), secrets)
        return self._created

    def undo(self) -> None:
        if self._created is not None:
            with interrupts.held_back():
                self._objects.delete(self._created)


def _followed(objects: ImageObjects, image: AgentImage, shown: _Shown) -> Ended:
    """Follow the object to the end. Raises LocalFailure."""
    pause = FIRST
    while True:
        match awaited_image.of(image):
            case Ended() as ended:
                shown.complete()
                return ended
            case Failed() as failed:
                raise LocalFailure(failed.message, code=_code(failed))
            case Fetching() as fetching:
                shown.fetching(fetching)
        time.sleep(pause)
        pause = min(pause * 1.5, LAST)
        found = objects.get(image.name)
        if found is None or found.uid != image.uid or found.is_being_deleted:
            raise _Gone(f"AgentImage {image.label} was deleted meanwhile")
        image = found


def _code(failed: Failed) -> int:
    """The exit code: of what a registry said, if that is why, or else of the reason."""
    codes = map(exitcodes.of_problem, failed.problems)
    return next((code for code in codes if code), None) or exitcodes.of_reason(failed.reason)


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
    """What the API server refuses ends the command with the exit code of that."""
    try:
        yield
    except ApiRefused as e:
        if e.status in (401, 403):
            e.code = exitcodes.NOT_ALLOWED
        raise
