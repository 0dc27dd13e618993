"""Images: inspect and pull. What may be pulled is decided elsewhere; nothing is built or removed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stromboli.coalesced import Coalesced
from stromboli.errors import NotFound, PullFailed
from stromboli.podman.connection import COMPAT, Connection, image_segment
from stromboli.podman.failures import answer, pull_failure, reading
from stromboli.podman.times import NEVER, moment

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image on the host. `id` is 64 hex digits, digests are `sha256:…`, entries of `env` are `NAME=value`."""

    id: str
    digest: str
    repo_digests: tuple[str, ...]
    repo_tags: tuple[str, ...]
    architecture: str
    os: str
    user: str
    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    workdir: str
    size: int
    created: datetime | None


class Images:
    """The images of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inspected = Coalesced(self._inspect)

    async def inspect(self, image: str) -> ImageInfo | None:
        """An image by reference or id; None only if Podman says that it does not exist."""
        return await self._inspected.get(image)

    async def _inspect(self, image: str) -> ImageInfo | None:
        try:
            response = await self._connection.request("GET", f"/images/{image_segment(image)}/json")
        except NotFound:
            return None
        with reading("an image"):
            return _info(answer(response.content))

    async def pull(self, reference: str, on_progress: Callable[[str], None] = lambda _: None) -> ImageInfo:
        """Pull a fully qualified reference from its registry, even if it is on the host already; returns the image.

        `on_progress` is called with a short text ("12.0 of 44.1 MiB") whenever that changes. There is no timeout:
        cancelling closes the connection, which ends the pull. Raises PullFailed, `permanent` if the registry refused,
        and NoSpace.
        """
        progress = _Progress(on_progress)
        # The compat endpoint: libpod's own reports no progress. Both report failure inside HTTP 200.
        async with self._connection.stream(
            "POST", "/images/create", params={"fromImage": reference}, api=COMPAT
        ) as response:
            async for line in response.aiter_lines():
                if line.strip():
                    _step(reference, line, progress)
        image = await self.inspect(reference)
        if image is None:
            raise PullFailed(f"image {reference} was pulled but is not there", permanent=False)
        return image


class _Progress:
    """Bytes of all layers together, reported whenever the text for them changes."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._layers: dict[str, tuple[int, int]] = {}
        self._reported = ""

    def arrived(self, name: str, current: int, total: int) -> None:
        """`current` of `total` bytes of a layer have arrived."""
        self._layers[name] = (current, total)
        self._update()

    def complete(self, name: str) -> None:
        """A layer is complete. The size of one that arrived too fast to be reported is unknown."""
        if name in self._layers:
            total = self._layers[name][1]
            self.arrived(name, total, total)

    def _update(self) -> None:
        done, size = (sum(column) for column in zip(*self._layers.values(), strict=True))
        text = f"{done / _MIB:.1f} of {size / _MIB:.1f} MiB"
        if text != self._reported:
            self._reported = text
            self._report(text)


def _step(reference: str, line: str, progress: _Progress) -> None:
    """Handle one line of a pull's stream. Raises PullFailed, NoSpace."""
    with reading("a pull"):
        entry: Any = answer(line)
        error, detail = entry.get("error"), entry.get("progressDetail") or {}
        if detail.get("total"):
            progress.arrived(str(entry["id"]), int(detail.get("current", 0)), int(detail["total"]))
        elif entry.get("status") == "Download complete":
            progress.complete(str(entry["id"]))
    if error:
        raise pull_failure(reference, str(error))


def _info(entry: Mapping[str, Any]) -> ImageInfo:
    config = entry["Config"] or {}
    return ImageInfo(
        id=entry["Id"].removeprefix("sha256:"),
        digest=entry["Digest"],
        repo_digests=tuple(entry["RepoDigests"] or ()),
        repo_tags=tuple(entry["RepoTags"] or ()),
        architecture=entry["Architecture"],
        os=entry["Os"],
        user=config.get("User", ""),
        env=tuple(config.get("Env") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        workdir=config.get("WorkingDir", ""),
        size=int(entry["Size"]),
        created=moment(entry["Created"] or NEVER),
    )
