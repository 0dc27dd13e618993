"""What a service inherits from its image, as Podman describes the image."""

from __future__ import annotations

from stromboli.plan.stack.image import SHELL, Image, ImageCheck
from stromboli.podman.images import ImageHealth, ImageInfo

_TCP = "tcp"
_HIGHEST = 65535


def image_of(info: ImageInfo) -> Image:
    """The configuration that services inherit."""
    return Image(
        id=info.id,
        user=info.user,
        env=dict(entry.partition("=")[::2] for entry in info.env),
        entrypoint=info.entrypoint,
        command=info.cmd,
        workdir=info.workdir,
        stop_signal=info.stop_signal,
        volumes=info.volumes,
        tcp=frozenset(number for text in info.ports for number in _tcp(text)),
        check=None if info.health is None else _check(info.health),
        shell=info.shell or SHELL,
    )


def _tcp(text: str) -> range:
    """The TCP ports of an entry such as `80`, `5432/tcp` or `7000-7002/tcp`; none for anything else."""
    ports, _, protocol = text.partition("/")
    first, dash, last = ports.partition("-")
    words = (first, last if dash else first)
    if (protocol or _TCP) != _TCP or not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
        return range(0)
    return range(max(int(words[0]), 1), min(int(words[1]), _HIGHEST) + 1)


def _check(health: ImageHealth) -> ImageCheck:
    return ImageCheck(health.test, health.interval, health.timeout, health.retries, health.start_period)
