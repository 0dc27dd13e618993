"""Images: list, inspect and pull. What may be pulled is decided elsewhere; nothing is built or removed here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stromboli.coalesced import Coalesced
from stromboli.errors import NotFound, PodmanError, PullFailed
from stromboli.podman.connection import COMPAT, LONGEST, Connection, image_segment
from stromboli.podman.failures import answer, problem_of, pull_failure, reading
from stromboli.podman.pulls import PullProgress, auth_header, follow
from stromboli.podman.times import NEVER, moment, moment_of
from stromboli.registry_credentials import Credentials, without_secrets
from stromboli.registry_problem import RegistryProblem

_ON_BUILD = re.compile(r"(?:/bin/sh -c #\(nop\)\s*)?ONBUILD\s+(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image on the host. `id` is 64 hex digits, digests are `sha256:…`, entries of `env` are `NAME=value`.

    `ports` are as in the OCI's configuration (`5432/tcp`); `shell` is empty for the default. `on_build` are the ONBUILD
    instructions in its history, since Podman does not show those of its configuration.
    """

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
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    health: ImageHealth | None = None
    on_build: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """An image's HEALTHCHECK: times in seconds, 0 for what it does not say."""

    test: tuple[str, ...]
    interval: float = 0
    timeout: float = 0
    retries: int = 0
    start_period: float = 0


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One image in the list of all, in the terms of `ImageInfo`."""

    id: str
    digest: str
    repo_digests: tuple[str, ...]
    repo_tags: tuple[str, ...]
    size: int
    created: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)


class Images:
    """The images of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inspected = Coalesced(self._inspect)

    async def list(self) -> tuple[ImageSummary, ...]:
        """All images with a name, in one call. Raises PodmanError if the list is too long."""
        response = await self._connection.request("GET", "/images/json")
        with reading("its images"):
            found = [_summary(entry) for entry in answer(response.content) or ()]
        return tuple(image for image in found if image.repo_tags or image.repo_digests)

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

    async def pull(
        self,
        reference: str,
        on_progress: Callable[[PullProgress], None] = lambda _: None,
        *,
        platform: str | None = None,
        credentials: Credentials | None = None,
    ) -> ImageInfo:
        """Pull a fully qualified reference from its registry, even if it is on the host already; returns the image.

        `on_progress` is called whenever the progress changes. `platform` (`linux/arm64`) is which image of an index is
        taken, by default the host's. There is no timeout, but a registry that sends nothing is given up after a while;
        cancelling closes the connection, which ends the pull. Raises PullFailed and NoSpace.
        """
        params = {"fromImage": reference} | ({"platform": platform} if platform else {})
        # The compat endpoint: libpod's own reports no progress. Both report failure inside HTTP 200.
        call = self._connection.stream(
            "POST",
            "/images/create",
            params=params,
            api=COMPAT,
            headers=auth_header(credentials) if credentials else None,
        )
        try:
            async with call as response, aclosing(response.lines(LONGEST)) as lines:
                await follow(reference, lines, on_progress, credentials)
        except PodmanError as error:
            # Newer versions report some failures by the status.
            words = without_secrets(str(error).partition(": ")[2], credentials)
            if error.status < 400 or problem_of(words) is RegistryProblem.UNKNOWN:
                raise
            raise pull_failure(reference, words) from None
        image = await self.inspect(reference)
        if image is None:
            raise PullFailed(f"image {reference} was pulled but is not there", RegistryProblem.UNKNOWN)
        return image


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
        labels={str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
        ports=tuple(str(port) for port in config.get("ExposedPorts") or ()),
        volumes=tuple(str(path) for path in config.get("Volumes") or ()),
        stop_signal=str(config.get("StopSignal") or ""),
        shell=tuple(config.get("Shell") or ()),
        health=_health(entry.get("HealthCheck") or entry.get("Healthcheck") or config.get("Healthcheck")),
        on_build=tuple(_on_build(entry.get("History") or ())),
    )


def _on_build(history: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for layer in history:
        if match := _ON_BUILD.match(str(layer.get("created_by") or "")):
            yield match[1]


def _health(entry: Mapping[str, Any] | None) -> ImageHealth | None:
    """Times are in nanoseconds there."""
    if not entry:
        return None
    return ImageHealth(
        test=tuple(entry.get("Test") or ()),
        interval=(entry.get("Interval") or 0) / 1e9,
        timeout=(entry.get("Timeout") or 0) / 1e9,
        retries=int(entry.get("Retries") or 0),
        start_period=(entry.get("StartPeriod") or 0) / 1e9,
    )


def _summary(entry: Mapping[str, Any]) -> ImageSummary:
    return ImageSummary(
        id=entry["Id"].removeprefix("sha256:"),
        digest=str(entry.get("Digest") or ""),
        repo_digests=tuple(entry.get("RepoDigests") or ()),
        repo_tags=tuple(entry.get("RepoTags") or ()),
        size=int(entry["Size"]),
        created=moment_of(int(entry["Created"] or 0)),
        labels={str(name): str(value) for name, value in (entry.get("Labels") or {}).items()},
    )
