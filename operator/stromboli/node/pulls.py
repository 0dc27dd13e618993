"""The node's pulls: one job for all who want the same image with the same credentials, and only a few at a time.

A failed pull is repeated when it is asked for again, but not before a delay that doubles with each failure, or that its
registry asks for. What Podman's words leave open (which platforms there are, how long to wait) the registry is asked.
Whether an image is already there, and whether it may be pulled, is decided in images.py.

Credentials are tried in their order, and then the registry is asked without any. An image that is on the node, and not
open to the caller (access.py), is not pulled if the registry shows its manifest to the caller.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from stromboli.errors import PodmanError, PodmanUnavailable, PullFailed, Pulling, RegistryError, StromboliError
from stromboli.grammar.reference import Reference
from stromboli.node.access import Access
from stromboli.node.jobs import Job, Jobs
from stromboli.plan import images as rules
from stromboli.podman.images import ImageInfo
from stromboli.podman.pulls import PullProgress
from stromboli.podman.registries_conf import RegistriesConf
from stromboli.podman.transport import Podman
from stromboli.registries import Manifest
from stromboli.registry_credentials import Credentials
from stromboli.registry_problem import RegistryProblem

log = logging.getLogger(__name__)

AT_ONCE = 4  # more compete for the same line and disk, so that none of them ends earlier
# Seconds without this many bytes after which a pull does not count as one of them: whoever has a registry could send a
# byte now and then, and keep all others waiting.
IDLE, LEAST = 20.0, 1024 * 1024
FIRST_DELAY = 5.0  # seconds after a failure for which all callers get its error; doubled after each further failure
MAX_DELAY = 80.0
REMEMBER_PULL = 300.0  # seconds for which finished pulls are remembered, so that with Always each run pulls only once
EXPLAINING = 10.0  # seconds for asking the registry about a failure

# Podman itself waits for a registry that answers 429, in silence.
_PERHAPS_LIMITED = (RegistryProblem.RATE_LIMITED, RegistryProblem.SILENT)
# What other credentials may change: some registries say of a private image that there is none.
_NOT_ACCEPTED = (RegistryProblem.DENIED, RegistryProblem.NOT_FOUND)
T = TypeVar("T")
# Is called at each end of a pull: `pulled`, `shown` (access to an image that is here), `failed` or `canceled`, and the
# seconds that it took.
Observe = Callable[[str, float], None]


def unobserved(result: str, seconds: float) -> None:
    """For whoever does not count."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a pull is shared by: the reference, and the credentials, since who has none must not get an image that only
    another's could pull. `here` is the id of an image on the node to which access has to be shown, empty if there is
    none; if it cannot be shown, the image is pulled if `may_pull`.
    """

    name: str
    credentials: tuple[Credentials, ...] = ()
    here: str = ""
    may_pull: bool = True


class Asked(Protocol):
    """What is asked of registries (registries.py)."""

    async def digest(self, reference: Reference, conf: RegistriesConf, credentials: Credentials | None) -> str: ...

    async def manifest(
        self, reference: Reference, conf: RegistriesConf, credentials: Credentials | None
    ) -> Manifest: ...

    async def close(self) -> None: ...


class Pulls:
    """All pulls of one node. At the end of one, `wake` is called with each UID that waited for it."""

    def __init__(
        self,
        podman: Podman,
        registries: Asked,
        access: Access,
        wake: Callable[[str], None],
        observe: Observe = unobserved,
    ) -> None:
        self._podman = podman
        self._observe = observe
        self._access = access
        self._registries = registries
        self._jobs: Jobs[Key, ImageInfo] = Jobs(wake)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._failures: dict[Key, int] = {}  # how often in succession a pull has failed
        # Why the last pull failed, if it may succeed yet: reported until the next one receives data.
        self._failed: dict[Key, PullFailed] = {}

    def brought(self, reference: Reference, credentials: tuple[Credentials, ...], wanted_by: str) -> ImageInfo | None:
        """What a pull that this UID waited for has brought; None if there was none, or it has not succeeded."""
        pull = self._jobs.find(Key(local_name(reference), credentials))
        return pull.result() if pull is not None and pull.succeeded and wanted_by in pull.waiting else None

    def pulled(
        self,
        reference: Reference,
        credentials: tuple[Credentials, ...],
        wanted_by: str,
        here: ImageInfo | None = None,
        *,
        may_pull: bool = True,
    ) -> ImageInfo:
        """The image that a pull has brought; the pull is started if necessary. With `here`, that image if the registry
        shows it to who has these credentials.

        Raises Pulling while it is in progress; PullFailed, PodmanError, PodmanUnavailable or OSError if it has failed.
        """
        key = Key(local_name(reference), credentials)
        pull = self._jobs.find(key)
        if here is not None and (pull is None or pull.is_over):  # or else it has just arrived by that pull
            key = replace(key, here=here.id, may_pull=may_pull)
            pull = self._jobs.find(key)
        if pull is None or self._is_stale(key, pull, wanted_by):
            pull = self._begin(key, reference, here, pull)
        pull.waiting.add(wanted_by)
        if pull.is_over:
            return pull.result()
        if not pull.progress and (before := self._failed.get(key)) is not None:
            raise before.with_traceback(None)
        progress, elapsed = pull.progress or "asking the registry", time.monotonic() - pull.began
        raise Pulling(f"pulling {key.name}: {progress}, {elapsed:.0f} s so far")

    def disregard(self, reference: Reference, credentials: tuple[Credentials, ...], wanted_by: str) -> None:
        """What a pull has brought is gone: the next time this UID asks for the image, it is pulled again."""
        if (pull := self._jobs.find(Key(local_name(reference), credentials))) is not None:
            pull.waiting.discard(wanted_by)

    def leave(self, uid: str) -> None:
        """This UID waits for no image any more: the pulls that nobody else waits for are cancelled."""
        self._jobs.leave(uid)

    def forget(self) -> None:
        """Forget pulls that ended more than REMEMBER_PULL seconds ago: all waiting runs have had their result."""
        self._jobs.drop_older(REMEMBER_PULL)
        self._failed = {key: failure for key, failure in self._failed.items() if self._jobs.find(key) is not None}
        self._failures = {key: count for key, count in self._failures.items() if self._jobs.find(key) is not None}

    async def close(self) -> None:
        """Cancel all pulls; Podman keeps the layers that are complete."""
        await self._jobs.close()
        await self._registries.close()

    def _is_stale(self, key: Key, pull: Job[ImageInfo], wanted_by: str) -> bool:
        """Whether a finished pull must be repeated: a success for a new caller, a failure after a while."""
        if not pull.is_over:
            return False
        if not pull.succeeded:
            return pull.ended is None or time.monotonic() - pull.ended > self._delay(key, pull.failure)
        return wanted_by not in pull.waiting

    def _delay(self, key: Key, failure: BaseException | None) -> float:
        """Seconds before a failed pull is repeated: soon, if whoever saw it fail may have corrected its cause."""
        if isinstance(failure, PullFailed) and failure.permanent:
            return FIRST_DELAY
        doublings = min(max(self._failures.get(key, 0) - 1, 0), 16)
        asked_for = failure.retry_after if isinstance(failure, PullFailed) else None
        return max(min(FIRST_DELAY * 2.0**doublings, MAX_DELAY), asked_for or FIRST_DELAY)

    def _begin(
        self, key: Key, reference: Reference, here: ImageInfo | None, last: Job[ImageInfo] | None
    ) -> Job[ImageInfo]:
        failure = None if last is None else last.failure
        if isinstance(failure, PullFailed) and not failure.permanent:
            self._failed[key] = failure
        else:
            self._failed.pop(key, None)
        return self._jobs.start(key, lambda report: self._observed(key, reference, here, report))

    async def _observed(
        self, key: Key, reference: Reference, here: ImageInfo | None, report: Callable[[str], None]
    ) -> ImageInfo:
        result, begun = "failed", time.monotonic()
        try:
            image = await self._pull(key, reference, here, report)
            result = "shown" if image is here else "pulled"
            return image
        except asyncio.CancelledError:
            result = "canceled"
            raise
        finally:
            self._observe(result, time.monotonic() - begun)

    async def _pull(
        self, key: Key, reference: Reference, here: ImageInfo | None, report: Callable[[str], None]
    ) -> ImageInfo:
        try:
            image = await self._shown(here, reference, key) if here is not None else None
            if image is None:
                image = await self._brought(key, reference, report)
        except PullFailed as failure:
            self._count(key, told := await self._explained(failure, reference, key.credentials))
            raise told from None
        except StromboliError as error:
            self._count(key, error)
            raise
        self._failures.pop(key, None)
        return image

    async def _shown(self, here: ImageInfo, reference: Reference, key: Key) -> ImageInfo | None:
        """The image, if the registry shows its manifest to who has these credentials, which is recorded."""
        digest = digest_of(here, reference)
        exact = replace(reference, tag=reference.tag if digest is None else None, digest=digest)
        try:
            conf = await self._podman.registries()
            _, by = await first_accepted(key.credentials, lambda own: self._registries.digest(exact, conf, own))
        except RegistryError as failure:
            if key.may_pull:  # the registry may have another image by now, or Podman a login of its own
                return None
            # Which image is behind the name is no more to be told than what is in it.
            told = str(failure).replace(str(exact), str(reference))
            raise PullFailed(f"access to the image {reference} is not shown: {told}", failure.problem) from None
        await self._access.show(here, reference, by)
        return here

    async def _brought(self, key: Key, reference: Reference, report: Callable[[str], None]) -> ImageInfo:
        """Pull the image, and record who has access to it."""
        if not key.credentials:
            image = await self._in_turn(key, None, report)
            await self._access.show(image, reference, None)
            return image
        before = await self._podman.images.inspect(key.name)
        if before is not None and not is_meant(before, reference):
            before = None
        async with self._access.pulling(reference, before):
            image, by = await first_accepted(key.credentials, lambda own: self._in_turn(key, own, report))
            await self._access.show(image, reference, by)
        return image

    async def _in_turn(self, key: Key, credentials: Credentials | None, report: Callable[[str], None]) -> ImageInfo:
        if self._slots.locked():
            report(f"waiting until one of {AT_ONCE} other pulls has ended")
        slot = _Slot(self._slots)
        await slot.take()

        def progressed(now: PullProgress) -> None:
            slot.used(now.fetched)
            report(str(now))

        try:
            report("")
            return await self._podman.images.pull(key.name, progressed, credentials=credentials)
        finally:
            slot.give_back()

    def _count(self, key: Key, error: StromboliError) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        log.warning("pulling %s failed: %s", key.name, error)

    async def _explained(
        self, failure: PullFailed, reference: Reference, credentials: tuple[Credentials, ...]
    ) -> PullFailed:
        """The failure, with what the registry itself says about it, if that helps."""
        no_platform = failure.problem is RegistryProblem.NO_PLATFORM
        if not no_platform and failure.problem not in _PERHAPS_LIMITED:
            return failure
        try:
            async with asyncio.timeout(EXPLAINING):
                conf = await self._podman.registries()
                if no_platform:
                    found, _ = await first_accepted(
                        credentials, lambda own: self._registries.manifest(reference, conf, own)
                    )
                    there = ", ".join(found.platforms) or "none"
                    return PullFailed(f"{failure}; it is there for {there}", failure.problem)
                await first_accepted(credentials, lambda own: self._registries.digest(reference, conf, own))
        except RegistryError as told:
            # Other refusals do not count: Podman may have a login for the registry that the operator does not know.
            if told.problem is RegistryProblem.RATE_LIMITED and not no_platform:
                wait = f", and asks to wait {told.retry_after:.0f} s" if told.retry_after else ""
                return PullFailed(f"{failure}; {told}{wait}", told.problem, told.retry_after)
        except (TimeoutError, PodmanError, PodmanUnavailable):
            pass
        return failure


class _Slot:
    """One of the AT_ONCE, from `take` on. It is given back as soon as next to nothing has arrived for IDLE seconds: a
    registry that does not answer does not hold up pulls from others.
    """

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._idle: asyncio.TimerHandle | None = None
        self._counted = 0  # bytes

    async def take(self) -> None:
        await self._slots.acquire()
        self._idle = asyncio.get_running_loop().call_later(IDLE, self.give_back)

    def used(self, fetched: int) -> None:
        """So many bytes have arrived by now."""
        if self._idle is not None and fetched - self._counted >= LEAST:
            self._counted = fetched
            self._idle.cancel()
            self._idle = asyncio.get_running_loop().call_later(IDLE, self.give_back)

    def give_back(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
            self._slots.release()


async def first_accepted(
    credentials: Iterable[Credentials], ask: Callable[[Credentials | None], Awaitable[T]]
) -> tuple[T, Credentials | None]:
    """The answer to the first of these that are accepted, or to none of them; and which those were.

    Raises PullFailed, RegistryError: what credentials were told, rather than what everybody is, and that there is no
    such image, rather than that access is denied.
    """
    told: PullFailed | RegistryError | None = None
    for own in (*credentials, None):
        try:
            return await ask(own), own
        except (PullFailed, RegistryError) as failure:
            if failure.problem not in _NOT_ACCEPTED:
                raise
            if told is None or (own is not None and failure.problem is RegistryProblem.NOT_FOUND):
                told = failure
    assert told is not None, "somebody was asked"
    raise told


def local_name(reference: Reference) -> str:
    """The reference to pass to Podman: fully qualified, and without the tag if there is a digest."""
    if reference.digest is not None:
        return f"{reference.registry}/{reference.path}@{reference.digest}"
    return str(reference)


def is_meant(image: ImageInfo, reference: Reference) -> bool:
    """Whether the image is known under the reference's own repository."""
    return rules.is_meant(reference, image.repo_tags, image.repo_digests)


def digest_of(image: ImageInfo, reference: Reference) -> str | None:
    """The manifest digest of the image in the reference's repository, or None."""
    if reference.digest is not None:
        return reference.digest
    prefix = f"{reference.registry}/{reference.path}@"
    return next((d.removeprefix(prefix) for d in image.repo_digests if d.startswith(prefix)), None)
