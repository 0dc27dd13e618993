"""What a container has written. It has to have a log driver that keeps files (`k8s-file`).

With `"log_configuration": {"driver": "k8s-file", "size": BYTES}` a log never grows beyond that size: the file is then
begun anew (conmon; `max-size` in `options` has no effect in 4.3.1). So of a container that writes much there may be
few lines. A log goes on over restarts, and is removed with its container.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stromboli.podman.connection import ANSWER, Connection, segment
from stromboli.podman.frames import Frames, Tail


class Logs:
    """The logs of one Podman's containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def tail(self, container: str, lines: int, most: int) -> str:
        """The last lines of standard output and standard error, of them at most the last `most` bytes.

        Raises NotFound, and PodmanError if its log driver keeps nothing.
        """
        params = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        frames, tail = Frames(), Tail(most)
        call = self._connection.stream("GET", f"/containers/{segment(container)}/logs", params=params, silence=ANSWER)
        async with call as response:
            async for chunk in response.chunks:
                tail.add(frames.data(chunk))
        return tail.text

    @asynccontextmanager
    async def whole(
        self, container: str, *, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """All that is kept of standard output and standard error, inside the block, in pieces as they come; or what was
        written `since` (in seconds since 1970). To `follow` it goes on until the container ends.

        Raises as `tail`.
        """
        params = {"stdout": "true", "stderr": "true", "follow": "true" if follow else "false"}
        if since is not None:
            params["since"] = f"{since:.0f}"
        silence = None if follow else ANSWER
        call = self._connection.stream("GET", f"/containers/{segment(container)}/logs", params=params, silence=silence)
        async with call as response:
            yield _data(response.chunks)


async def _data(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    frames = Frames()
    async for chunk in chunks:
        if data := frames.data(chunk):
            yield data
