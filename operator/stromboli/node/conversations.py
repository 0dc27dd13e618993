"""Reads a session's conversation from its volume, through a temporary container.

The file is parsed in plan/conversation.py, or with all that it has in plan/history.py. Nothing is cached here, and
nothing is executed. The session's own container cannot be used: before sending a file, Podman reads the root's
/etc/passwd, which an agent may have replaced by a pipe, and Podman would block forever.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stromboli import naming
from stromboli.apart import apart
from stromboli.errors import NotFound, PodmanError
from stromboli.inspection import startfiles
from stromboli.node.images import never_started
from stromboli.plan import ownership
from stromboli.plan.conversation import Message, Transcript
from stromboli.plan.history import Entry, Part, Wanted
from stromboli.plan.record import Record
from stromboli.plan.redaction import Secrets
from stromboli.podman.folders import Folders
from stromboli.podman.tarstream import FoundFile
from stromboli.podman.transport import Podman

MAX_FILE = 64 * 1024 * 1024  # bytes at the end of the file that are parsed
MAX_FOLDER = 512 * 1024 * 1024  # bytes of the folder's tar stream that are searched for it
_PROJECTS = f"{naming.CONFIG_DIR}/projects"

Given = Callable[[str], Secrets]  # the secrets that a session's runs were given, by the session's UID


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages, oldest first; `truncated` if some are missing."""

    messages: tuple[Message, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class History:
    """Some of a conversation's entries, the oldest first, of `total`; `truncated` if there are more than these."""

    entries: tuple[Entry, ...]
    total: int
    truncated: bool


class Conversations:
    """The conversations of one installation on this node. `given` knows what the runs of a session must not show, and
    `reading` gets the names of the temporary containers in use, which a sweep has to leave alone.
    """

    def __init__(
        self, podman: Podman, folders: Folders, installation: str, given: Given, reading: set[str] | None = None
    ) -> None:
        self._reading: set[str] = set() if reading is None else reading
        self._given = given
        self._podman = podman
        self._folders = folders
        self._installation = installation

    async def read(self, session_uid: str, conversation: str, image_id: str) -> Conversation | None:
        """The conversation with that id; None if the session has none on this node.

        `image_id` is the image of the session's container. Raises PodmanError, PodmanUnavailable.
        """
        transcript = Transcript(await apart(self._given, session_uid))
        if not await self._has_fed(transcript, session_uid, conversation, image_id):
            return None
        return Conversation(transcript.finish(), transcript.truncated)

    async def entries(self, session_uid: str, conversation: str, image_id: str, wanted: Wanted) -> History | None:
        """Some of the same, with all that the CLI has recorded of it. None, and raises, as `read`."""
        part = Part(wanted, await apart(self._given, session_uid))
        if not await self._has_fed(part, session_uid, conversation, image_id):
            return None
        return History(part.finish(), part.total, part.truncated)

    async def _has_fed(self, record: Record, session_uid: str, conversation: str, image_id: str) -> bool:
        """Whether there is a conversation, which the record has then read up to its last line."""
        volume = await self._podman.volumes.inspect(naming.volume(session_uid))
        if volume is None:
            return False
        if ownership.session_of_volume(volume.name, volume.labels, self._installation) != session_uid:
            return False
        async with self._opened(volume.name, image_id) as helper:
            return await self._has_read(record, helper, conversation)

    async def _has_read(self, record: Record, container: str, conversation: str) -> bool:
        # The folder in between is named by the CLI after the working directory.
        def is_it(path: str) -> bool:
            return path.count("/") == 2 and path.endswith(f"/{conversation}.jsonl")

        if unreadable := await startfiles.problem_in(self._podman, container, [naming.SESSION]):
            raise PodmanError(f"the session's image cannot be read: {unreadable}")
        try:
            for folder in (naming.CONFIG_DIR, _PROJECTS):
                # A symlink leads to something in the volume or nowhere, and looks like a folder (seen on 4.3.1).
                place = await self._podman.archive.stat(container, folder)
                if place is None or not place.directory or place.path != folder:
                    return False
            async with self._folders.find(container, _PROJECTS, is_it, MAX_FOLDER) as found:
                if found is None:
                    return False
                await _feed(record, found)
                return True
        except NotFound as error:
            if await self._podman.containers.inspect(container) is None:
                raise PodmanError("the container that reads it was removed in the meantime; retry") from error
            return False

    @asynccontextmanager
    async def _opened(self, volume: str, image_id: str) -> AsyncIterator[str]:
        """A temporary container with the volume at the same path as in the session's container."""
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_READER}
        name = f"{naming.reader(image_id)}-{uuid.uuid4().hex[:8]}"
        mount = {"Name": volume, "Dest": naming.SESSION, "Options": ["ro"]}
        body = {**never_started(name, image_id, labels), "volumes": [mount]}
        self._reading.add(name)
        try:
            try:
                helper = await self._podman.containers.create(body)
            except NotFound as error:
                raise PodmanError("the session's image is gone from the node; its next run brings it back") from error
            try:
                yield helper
            finally:
                await self._podman.containers.remove(helper)
                left = await self._podman.volumes.inspect(volume)
                if left is not None and not left.labels:  # it was deleted meanwhile, and Podman created a new one
                    await self._podman.volumes.remove(volume)
        finally:
            self._reading.discard(name)


async def _feed(record: Record, found: FoundFile) -> None:
    skip = max(found.size - MAX_FILE, 0)
    record.truncated |= skip > 0
    async for piece in found.content:
        record.feed(piece[skip:])
        skip = max(skip - len(piece), 0)
