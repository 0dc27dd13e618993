"""Builds an image from a context. Which images it may begin from, and what is in the context, is decided elsewhere.

Podman pulls nothing for it. It never gets a name, nor are its steps kept as a cache, so that nothing of it is left but
the image, which bears the labels. It has Docker's format: OCI's has no HEALTHCHECK.

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
from stromboli.podman.processes import Processes

OUTPUT = 4096  # bytes of a build's output that are kept
_FLOOD = 32 * 1024 * 1024  # bytes of output after which it is ended
_FORMAT = "application/vnd.docker.distribution.manifest.v2+json"
_ID = re.compile(r"[0-9a-f]{64}")
# Seconds before each kill after a build was given up: Podman may be just about to start its next process.
_KILLS = (0.0, 0.1, 0.5)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is built. `dockerfile` is a path in the context, `network` the one of its `RUN`s (None: none).

    `memory` (bytes) and `cpus` (thousandths) limit each `RUN`. `rootless`: whether Podman is, which knows no cgroups
    for builds; then one that is given up goes on to the end of its current `RUN`.
    """

    dockerfile: str
    labels: Mapping[str, str]
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
        BuildFailed and NoSpace. Cancelling it, or too long a time, ends the build where processes can be seen.
        """
        group = f"stromboli-build-{uuid.uuid4().hex}"
        tail = Tail(OUTPUT)
        try:
            async with asyncio.timeout(limit):
                return await self._built(context, recipe, group, tail, on_line)
        except TimeoutError:
            await self._end(group)
            message = f"the image was not built within {limit:.0f} s"
            raise BuildFailed(f"{message}{_said(tail)}", tail.text) from None
        except (asyncio.CancelledError, _Flood) as error:
            await self._end(group)
            if isinstance(error, asyncio.CancelledError):
                raise
            message = f"the image was not built: its build wrote more than {_FLOOD // 2**20} MiB"
            raise BuildFailed(message, tail.text) from None

    async def _built(
        self,
        context: bytes | BinaryIO,
        recipe: Recipe,
        group: str,
        tail: Tail,
        on_line: Callable[[str], None],
    ) -> str:
        last = ""
        call = self._connection.stream("POST", "/build", params=_params(recipe, group), archive=context)
        async with call as response, aclosing(response.lines(LONGEST)) as lines:
            async for entry in _entries(lines):
                if failure := entry.get("error"):  # a failed build is HTTP 200
                    raise _failure(str(failure), tail)
                said = str(entry.get("stream") or "")
                tail.add(said.encode())
                if tail.size > _FLOOD:
                    raise _Flood
                for line in said.splitlines():
                    last = line
                    on_line(line)
        if not _ID.fullmatch(last):
            raise BuildFailed(f"Podman ended the build without an image{_said(tail)}", tail.text)
        return last

    async def _end(self, group: str) -> None:
        """Kill what the build runs; as its connection is closed, Podman begins nothing more and removes its remains."""
        for pause in _KILLS:
            await asyncio.sleep(pause)
            await self._processes.end_group(group)


class _Flood(Exception):
    """A build has written too much."""


async def _entries(lines: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        if line.strip():
            with reading("a build"):
                entry = dict(answer(line))
            yield entry


def _params(recipe: Recipe, group: str) -> dict[str, str]:
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
    if recipe.target:
        params["target"] = recipe.target
    # A word as `networkmode`, "none" too, means the node's own network, as does leaving both out (4.3.1); 1 is none.
    params["nsoptions"] = json.dumps([{"Name": "network", "Host": False, "Path": recipe.network or ""}])
    if recipe.network is None:
        params["networkmode"] = "1"
    if recipe.memory is not None:
        params |= {"memory": str(recipe.memory), "memswap": str(recipe.memory)}
    if recipe.cpus is not None:
        params |= {"cpuperiod": "100000", "cpuquota": str(recipe.cpus * 100)}
    if not recipe.rootless:
        params["cgroupparent"] = f"/{group}"
    return params


def _failure(message: str, tail: Tail) -> BuildFailed | NoSpace:
    text = f"the image was not built: {failures.redact(message)}"
    if failures.is_full(message):
        return NoSpace(text, 200)
    return BuildFailed(f"{text}{_said(tail)}", tail.text)


def _said(tail: Tail) -> str:
    """The last line that is not a step of Podman's own, for a message."""
    lines = [line for line in tail.text.splitlines() if line.strip() and not line.startswith(("STEP ", "--> "))]
    return f" (its last output: {failures.redact(lines[-1])})" if lines else ""
