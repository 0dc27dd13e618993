"""Reads a session's conversation from its volume, through a temporary container.

The file is parsed in plan/conversation.py. Nothing is cached here, and nothing is executed. The session's own container
cannot be used: before sending a file, Podman reads the root's /etc/passwd, which an agent may have replaced by a pipe,
and Podman would block forever.
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

MAX_FILE = 64 * 1024 * 1024  # bytes at the end of the file that are parsed
MAX_FOLDER = 512 * 1024 * 1024  # bytes of the folder's tar stream that are searched for it
_PROJECTS = f"{naming.CONFIG_DIR}/projects"


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages, oldest first; `truncated` if some are missing."""

    messages: tuple[Message, ...]
    truncated: bool


class Conversations:
    """The conversations of one installation on this node."""

    def __init__(self, podman: Podman, folders: Folders, installation: str) -> None:
        self._podman = podman
        self._folders = folders
        self._installation = installation

    async def read(self, session_uid: str, conversation: str, image_id: str) -> Conversation | None:
        """The conversation with that id; None if the session has none on this node.

        `image_id` is the image of the session's container. Raises PodmanError, PodmanUnavailable.
        """
        volume = await self._podman.volumes.inspect(naming.volume(session_uid))
        if volume is None:
            return None
        if ownership.session_of_volume(volume.name, volume.labels, self._installation) != session_uid:
            return None
        async with self._opened(volume.name, image_id) as helper:
            return await self._read(helper, conversation)

    async def _read(self, container: str, conversation: str) -> Conversation | None:
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
                    return None
            async with self._folders.find(container, _PROJECTS, is_it, MAX_FOLDER) as found:
                return None if found is None else await _transcribed(found)
        except NotFound as error:
            if await self._podman.containers.inspect(container) is None:
                raise PodmanError("the container that reads it was removed in the meantime; retry") from error
            return None

    @asynccontextmanager
    async def _opened(self, volume: str, image_id: str) -> AsyncIterator[str]:
        """A temporary container with the volume at the same path as in the session's container."""
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_READER}
        name = f"{naming.reader(image_id)}-{uuid.uuid4().hex[:8]}"
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
            if left is not None and not left.labels:  # it was deleted meanwhile, and Podman created a new one
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
