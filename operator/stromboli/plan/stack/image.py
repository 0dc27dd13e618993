"""What a service inherits from its image. Pure; how it is read from Podman is not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """An image's HEALTHCHECK, times in seconds; 0 or an empty `test` is what it does not say."""

    test: tuple[str, ...] = ()
    interval: float = 0
    timeout: float = 0
    retries: int = 0
    start_period: float = 0
    start_interval: float = 0


@dataclass(frozen=True, slots=True)
class Image:
    """The configuration of one image. `tcp` are the TCP ports that it exposes, `volumes` its VOLUMEs, and `shell` what
    its commands in shell form are run by.
    """

    id: str
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    tcp: frozenset[int] = frozenset()
    check: ImageCheck | None = None
    shell: tuple[str, ...] = SHELL
