"""The end of what a container has written. It has to have a log driver that keeps files (`k8s-file`).

With `"log_configuration": {"driver": "k8s-file", "size": BYTES}` a log never grows beyond that size: the file is then
begun anew (conmon; `max-size` in `options` has no effect in 4.3.1). So of a container that writes much there may be
few lines. A log goes on over restarts, and is removed with its container.
"""

from __future__ import annotations

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
