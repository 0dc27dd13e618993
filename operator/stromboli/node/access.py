"""Who may use and see an image that is on the node: one that only credentials could pull is not for everybody.

As the kubelet does (KEP-2535, with its default NeverVerifyPreloadedImages): an image that the operator has not pulled
was put on the node by an administrator, for everybody. One that was pulled without credentials is open to everybody
too. One that was pulled with credentials is open to who has the same, and to others once they have shown at its
registry that they have access (pulls.py). What counts is the repository through which the image is named: the same
image may be public under another name.

That a pull begins is recorded before it does. So whenever the operator is killed, an image that was pulled with
credentials never looks like one that was there before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stromboli.errors import NoSpace, PullFailed
from stromboli.grammar.reference import Reference
from stromboli.node.pull_records import Begun, Opened, PullRecords, Record
from stromboli.plan import images as rules
from stromboli.registry_credentials import Credentials

MOST = 100  # hashes of credentials, and namespaces, that are kept for one image: whoever is left out shows them again


class Image(Protocol):
    """An image on the node, as Podman names it."""

    @property
    def id(self) -> str: ...

    @property
    def repo_tags(self) -> tuple[str, ...]: ...

    @property
    def repo_digests(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded at one time: images by id, and the references of pulls of which nobody knows how they ended."""

    pulled: Mapping[str, Record]
    unsure: Set[str]

    def __bool__(self) -> bool:
        return bool(self.pulled or self.unsure)


class Access:
    """Who has access to this node's images; the records are in the operator's home."""

    def __init__(self, home: Path) -> None:
        self._records = PullRecords(home)
        self._writing = asyncio.Lock()
        self._at_work: Counter[str] = Counter()  # pulls in progress, by reference
        self._unsure = set(self._records.begun)  # references of pulls of which it is not known how they ended
        self._missing: set[str] = set()  # those of them whose images were not here in the last call of `forget`

    def is_open(self, image: Image, reference: Reference) -> bool:
        """Whether everybody may use an image that the reference names."""
        return rules.is_local(reference) or self._is_open(image, reference.name)

    def is_open_to(self, image: Image, reference: Reference, credentials: Iterable[Credentials]) -> bool:
        """Whether who has these credentials may use an image that the reference names. Raises OSError."""
        if self.is_open(image, reference):
            return True
        known = self._opened(image, reference.name)
        if known is None or not known.credentials:
            return False
        return any(self._records.hash_of(each) in known.credentials for each in credentials)

    def visible_to(self, namespace: str, image: Image) -> bool:
        """Whether a namespace may know of an image, and go on with it where it began: everybody may, or one that was
        in the namespace before had access.
        """
        record = self._records.pulled.get(image.id, Record())
        if any(namespace in opened.namespaces for opened in record.repositories.values()):
            return True
        names = {name for name, _ in _names(image)}
        if not names:  # another image has its name by now
            return record == Record() or any(opened.everybody for opened in record.repositories.values())
        return any(self._is_seen(namespace, image, name) for name in names)

    def names_visible_to(self, namespace: str, image: Image) -> tuple[str, ...]:
        """Those of an image's names (with tags and with digests) that the namespace may know of."""
        return tuple(whole for name, whole in _names(image) if self._is_seen(namespace, image, name))

    @asynccontextmanager
    async def pulling(self, reference: Reference, before: Image | None) -> AsyncIterator[None]:
        """A pull with credentials is made inside the block, and `show` is called there if it succeeds.

        `before` is the image that the reference names until then. Raises OSError if that cannot be recorded.
        """
        name = str(reference)
        spared = before.id if before is not None and self.is_open(before, reference) else ""
        self._at_work[name] += 1
        try:
            async with self._writing:
                if name not in self._records.begun:
                    await asyncio.to_thread(self._records.begin, Begun(reference, spared))
            yield
            self._unsure.discard(name)
        except (PullFailed, NoSpace):
            raise
        except BaseException:  # cancelled, too: Podman may have completed it all the same
            if name in self._records.begun:
                self._unsure.add(name)
            raise
        finally:
            self._at_work[name] -= 1
            if not self._at_work[name]:
                del self._at_work[name]
                if name in self._records.begun and name not in self._unsure:
                    self._records.end(name)

    async def show(self, image: Image, reference: Reference, credentials: Credentials | None) -> None:
        """It was shown that these credentials, or none, open an image that the reference names. Raises OSError."""
        if self.is_open(image, reference) and str(reference) not in self._records.begun:
            return
        begun = self._records.begun.get(str(reference))
        async with self._writing:
            known = self._opened(image, reference.name) or Opened()
            if credentials is None or (begun is not None and begun.spared == image.id):
                known = replace(known, everybody=True)
            else:
                own = await asyncio.to_thread(self._records.hash_of, credentials)
                known = replace(known, credentials=_with(known.credentials, own))
            await self._write(image, reference.name, known)

    async def use(self, namespace: str, image: Image, reference: Reference) -> None:
        """A namespace that has access to the image begins to use it. Raises OSError."""
        if not namespace or self.is_open(image, reference):
            return
        async with self._writing:
            known = self._opened(image, reference.name) or Opened()
            if namespace not in known.namespaces:
                known = replace(known, namespaces=_with(known.namespaces, namespace))
                await self._write(image, reference.name, known)

    def recorded(self) -> Recorded:
        """What is recorded now."""
        return Recorded(dict(self._records.pulled), self._unsure - self._at_work.keys())

    async def forget(self, before: Recorded, here: Iterable[Image]) -> None:
        """Forget the images that are no longer on the node. `before` is what was recorded before `here`, which are all
        images of the node, were listed. Raises OSError.

        Of a pull of which it is not known how it ended: if its image is here, access to that has to be shown. If it is
        not here in two calls in succession, Podman has not completed it after all.
        """
        found = {image.id: image for image in here}
        async with self._writing:
            for image_id, record in before.pulled.items():
                if image_id not in found and self._records.pulled.get(image_id) is record:
                    await asyncio.to_thread(self._records.drop, image_id)
            unsure = before.unsure & self._unsure - self._at_work.keys()
            missing = {name for name in unsure if not await self._settled(self._records.begun[name], found.values())}
            for name in unsure - missing | self._missing & missing:
                await asyncio.to_thread(self._records.end, name)
                self._unsure.discard(name)
            self._missing = missing

    async def _settled(self, begun: Begun, here: Iterable[Image]) -> bool:
        """Whether the image of a pull is here; access to it has to be shown then."""
        brought = [image for image in here if _is_of(begun, image)]
        for image in brought:
            if self._opened(image, begun.reference.name) is None:
                await self._write(image, begun.reference.name, Opened())
        return bool(brought)

    def _is_seen(self, namespace: str, image: Image, repository: str) -> bool:
        if repository.startswith(f"{rules.LOCAL}/") or self._is_open(image, repository):
            return True
        opened = self._opened(image, repository)
        return opened is not None and namespace in opened.namespaces

    def _is_open(self, image: Image, repository: str) -> bool:
        if (opened := self._opened(image, repository)) is not None:
            return opened.everybody
        return not any(
            begun.reference.name == repository and _is_of(begun, image) for begun in self._records.begun.values()
        )

    def _opened(self, image: Image, repository: str) -> Opened | None:
        """What is recorded; None if the image was not pulled from that repository with credentials."""
        record = self._records.pulled.get(image.id, Record())
        return record.repositories.get(repository, None if record.whole else Opened())

    async def _write(self, image: Image, repository: str, opened: Opened) -> None:
        record = self._records.pulled.get(image.id, Record())
        new = replace(record, repositories={**record.repositories, repository: opened})
        await asyncio.to_thread(self._records.write, image.id, new)


def _is_of(begun: Begun, image: Image) -> bool:
    """Whether a pull that has begun may have brought the image."""
    return image.id != begun.spared and rules.is_meant(begun.reference, image.repo_tags, image.repo_digests)


def _names(image: Image) -> list[tuple[str, str]]:
    """The image's names: each repository, and the whole name."""
    tagged = [(name.rpartition(":")[0], name) for name in image.repo_tags]
    return tagged + [(name.partition("@")[0], name) for name in image.repo_digests]


def _with(known: tuple[str, ...], new: str) -> tuple[str, ...]:
    return (*(each for each in known if each != new), new)[-MOST:]
