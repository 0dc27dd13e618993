"""A session's conversation, out of its volume, through a throw-away container.

What the record says is for plan/conversation.py to read. Nothing of it is kept here, and nothing is executed. The
session's own container will not do: before Podman sends a file it reads the root's /etc/passwd, which an agent may
have replaced by a pipe, and Podman would wait for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stromboli import naming
from stromboli.errors import NotFound, PodmanError
from stromboli.inspection import startfiles
from stromboli.node.images import never_started
from stromboli.plan import ownership
from stromboli.plan.conversation import Message, Transcript
from stromboli.podman.folders import Folders
from stromboli.podman.tarstream import FoundFile
from stromboli.podman.transport import Podman

MAX_FILE = 64 * 1024 * 1024  # what is read of a record, at its end
MAX_FOLDER = 512 * 1024 * 1024  # what is gone through to find it
_PROJECTS = f"{naming.CONFIG_DIR}/projects"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said, the oldest first; `truncated` where that is not all."""

    messages: tuple[Message, ...]
    truncated: bool


class Conversations:
    """The conversations of one installation on this node."""

    def __init__(self, podman: Podman, folders: Folders, installation: str) -> None:
        self._podman = podman
        self._folders = folders
        self._installation = installation

    async def read(self, session_uid: str, conversation: str, image_id: str) -> Conversation | None:
        """The conversation with that id, or None where the session has none on this node.

        `image_id` is an image that the session's container was made of. Raises PodmanError, PodmanUnavailable.
        """
        volume = await self._podman.volumes.inspect(naming.volume(session_uid))
        if volume is None:
            return None
        if ownership.session_of_volume(volume.name, volume.labels, self._installation) != session_uid:
            return None
        async with self._opened(volume.name, image_id) as helper:
            return await self._read(helper, conversation)

    async def _read(self, container: str, conversation: str) -> Conversation | None:
        # The folder between is the CLI's name for the working directory.
        def is_it(path: str) -> bool:
            return path.count("/") == 2 and path.endswith(f"/{conversation}.jsonl")

        if unreadable := await startfiles.problem_in(self._podman, container, [naming.SESSION]):
            raise PodmanError(f"the session's image cannot be read: {unreadable}")
        try:
            for folder in (naming.CONFIG_DIR, _PROJECTS):
                # A link leads to something in the volume or nowhere, and is not told from a folder (seen on 4.3.1).
                place = await self._podman.archive.stat(container, folder)
                if place is None or not place.directory or place.path != folder:
                    return None
            async with self._folders.find(container, _PROJECTS, is_it, MAX_FOLDER) as found:
                return None if found is None else await _transcribed(found)
        except NotFound as error:
            if await self._podman.containers.inspect(container) is None:
                raise PodmanError("the container that reads it went away meanwhile; try again") from error
            return None

    @asynccontextmanager
    async def _opened(self, volume: str, image_id: str) -> AsyncIterator[str]:
        """A throw-away container that has the volume where the session's has it."""
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_LOOK}
        name = f"{naming.look(image_id)}-{uuid.uuid4().hex[:8]}"
        mount = {"Name": volume, "Dest": naming.SESSION, "Options": ["ro"]}
        try:
            helper = await self._podman.containers.create({**never_started(name, image_id, labels), "volumes": [mount]})
        except NotFound as error:
            raise PodmanError("the session's image is gone from the node; its next run brings it back") from error
        try:
            yield helper
        finally:
            await self._podman.containers.remove(helper)
            left = await self._podman.volumes.inspect(volume)
            if left is not None and not left.labels:  # the session's was deleted meanwhile, and Podman made another
                await self._podman.volumes.remove(volume)


async def _transcribed(found: FoundFile) -> Conversation:
    transcript = Transcript()
    skip = max(found.size - MAX_FILE, 0)
    cut = skip > 0
    async for piece in found.content:
        transcript.feed(piece[skip:])
        skip = max(skip - len(piece), 0)
    messages = transcript.finish()
    return Conversation(messages, cut or transcript.truncated)
