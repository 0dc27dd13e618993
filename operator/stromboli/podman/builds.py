"""Builds an image from a context. Which images it may begin from, and what is in the context, is decided elsewhere.

Podman pulls nothing for it, and keeps none of its steps as a cache: nothing of it is left but the image, which bears
the labels. It has Docker's format: OCI's has no HEALTHCHECK.

What a build can do that a container cannot (seen on 4.3.1): `ADD` of a URL is fetched by Podman itself, from the node's
network; the files of `RUN --mount=type=cache` are those of all builds of the node; and the number of processes of a
`RUN` has no limit. Here-documents are not understood.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from stromboli.errors import BuildFailed, NoSpace
from stromboli.podman import failures
from stromboli.podman.connection import LONGEST, Connection
from stromboli.podman.failures import answer, reading
from stromboli.podman.frames import Tail
from stromboli.podman.processes import BuildMark, Processes

OUTPUT = 4096  # bytes of a build's output that are kept
_LINES = 8  # of those, in a message
_FLOOD = 32 * 1024 * 1024  # bytes of output after which it is ended
_FORMAT = "application/vnd.docker.distribution.manifest.v2+json"
_MARKS = uuid.UUID("5c1b8a55-6b0e-4f0e-9a0d-3d0c0f1e7a11")
_ID = re.compile(r"[0-9a-f]{64}")
_ENDING = 30.0  # seconds for a build that was given up to end, if its processes were killed
_AGAIN = 0.2  # seconds before they are looked for again: Podman may have been about to start one


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is built. `dockerfile` is a path in the context, `network` the one of its `RUN`s (None: none).

    `name` is the image's; another that has it stays, but loses it. Without one, anybody who prunes removes the image.
    `memory` (bytes) and `cpus` (thousandths) limit each `RUN`, unless Podman is `rootless`: its builds have no cgroups.
    """

    dockerfile: str
    labels: Mapping[str, str]
    name: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    network: str | None = None
    memory: int | None = None
    cpus: int | None = None
    rootless: bool = False


class Builds:
    """The builds of one Podman."""

    def __init__(self, connection: Connection, processes: Processes) -> None:
        self._connection = connection
        self._processes = processes

    async def build(
        self,
        context: bytes | BinaryIO,
        recipe: Recipe,
        *,
        limit: float,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Build an image within `limit` seconds; returns its id. `context` is a tar file, which is read once.

        `on_line` gets each line of its output as it comes: the words of whoever wrote the Dockerfile. Raises
        BuildFailed and NoSpace. Cancelling it, or too long a time, ends the build where processes can be seen. An image
        that was being written at that moment may stay: it bears the labels.
        """
        mark = _mark(recipe.name)
        output = _Output(on_line)
        reading = asyncio.create_task(self._read(context, recipe, mark, output))
        flooded = asyncio.create_task(output.flooded.wait())
        try:
            async with asyncio.timeout(limit):
                await asyncio.wait((reading, flooded), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise output.failed(f"the image was not built within {limit:.0f} s") from None
        finally:
            flooded.cancel()
            if not reading.done():
                await self._end(mark, reading, output)
        if output.flooded.is_set():
            raise output.failed(f"the image was not built: its build wrote more than {_FLOOD // 2**20} MiB")
        return reading.result()

    async def clear(self, name: str) -> None:
        """Kill what a build of the image with this name runs: one that an earlier operator has begun."""
        await self._processes.end_build(_mark(name))

    async def _read(self, context: bytes | BinaryIO, recipe: Recipe, mark: BuildMark, output: _Output) -> str:
        call = self._connection.stream("POST", "/build", params=_params(recipe, mark), archive=context)
        async with call as response, aclosing(response.lines(LONGEST)) as lines:
            output.begun = True
            async for entry in _entries(lines):
                if failure := entry.get("error"):  # a failed build is HTTP 200
                    raise _failure(str(failure), output)
                output.add(str(entry.get("stream") or ""))
        if not _ID.fullmatch(output.last):
            raise output.failed("Podman ended the build without an image")
        return output.last

    async def _end(self, mark: BuildMark, reading: asyncio.Task[str], output: _Output) -> None:
        """Kill what the build runs until it has failed, and Podman has removed its remains.

        Its output is read meanwhile: if nobody did, Podman would wait for ever to write it.
        """
        output.ignored = True
        try:
            async with asyncio.timeout(_ENDING):
                while output.begun and not reading.done():
                    await self._processes.end_build(mark)
                    await asyncio.wait([reading], timeout=_AGAIN)
        except TimeoutError:
            pass
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def _mark(name: str) -> BuildMark:
    """The mark of the build of an image, which is found again by its name, if it has one."""
    number = uuid.uuid5(_MARKS, name) if name else uuid.uuid4()
    return BuildMark(f"stromboli-build-{number.hex}", number.int >> 80)


class _Output:
    """What a build has written so far."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._tail = Tail(OUTPUT)
        self.begun = False
        self.ignored = False
        self.last = ""
        self.flooded = asyncio.Event()

    def add(self, said: str) -> None:
        if self.ignored:
            return
        self._tail.add(said.encode())
        for line in said.splitlines():
            self.last = line
            self._on_line(line)
        if self._tail.size > _FLOOD:
            self.ignored = True
            self.flooded.set()

    def failed(self, message: str) -> BuildFailed:
        """The error, with the last lines of the step that it ended in: errors may come before what was written last."""
        text = self._tail.text
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("--> ")]
        steps = [n for n, line in enumerate(lines) if line.startswith("STEP ")]
        said = "\n".join(map(failures.redact, lines[steps[-1] + 1 if steps else 0 :][-_LINES:]))
        return BuildFailed(f"{message}; its last lines:\n{said}" if said else message, text)


async def _entries(lines: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        if line.strip():
            with reading("a build"):
                entry = dict(answer(line))
            yield entry


def _params(recipe: Recipe, mark: BuildMark) -> dict[str, str]:
    params = {
        "dockerfile": recipe.dockerfile,
        "labels": json.dumps(dict(recipe.labels)),
        "buildargs": json.dumps(dict(recipe.args)),
        "outputformat": _FORMAT,
        "pullpolicy": "never",
        "layers": "false",
        "rm": "true",
        "forcerm": "true",
        "httpproxy": "false",
    }
    if recipe.name:
        params["t"] = recipe.name
    if recipe.target:
        params["target"] = recipe.target
    # A word as `networkmode`, "none" too, means the node's own network, as does leaving both out (4.3.1); 1 is none.
    params["nsoptions"] = json.dumps([{"Name": "network", "Host": False, "Path": recipe.network or ""}])
    if recipe.network is None:
        params["networkmode"] = "1"
    # Otherwise the environment of Podman's service decides; with chroot, a build is in the node's own network.
    params["isolation"] = "rootless" if recipe.rootless else "oci"
    return params | (_unlimited(mark) if recipe.rootless else _limits(recipe, mark))


def _unlimited(mark: BuildMark) -> dict[str, str]:
    return {"ulimits": json.dumps([f"locks={mark.locks}:{mark.locks}"])}


def _limits(recipe: Recipe, mark: BuildMark) -> dict[str, str]:
    params = {"cgroupparent": f"/{mark.cgroup}"}
    if recipe.memory is not None:
        params |= {"memory": str(recipe.memory), "memswap": str(recipe.memory)}
    if recipe.cpus is not None:
        params |= {"cpuperiod": "100000", "cpuquota": str(recipe.cpus * 100)}
    return params


def _failure(message: str, output: _Output) -> BuildFailed | NoSpace:
    text = f"the image was not built: {failures.redact(message)}"
    return NoSpace(text, 200) if failures.is_full(message) else output.failed(text)
