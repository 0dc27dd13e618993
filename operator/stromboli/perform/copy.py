"""Placeholder so that imports work until this module is written: overwrite it."""

from __future__ import annotations

from collections.abc import Mapping

from stromboli.attempt.site import Site
from stromboli.podman.transport import Podman


class Copier:
    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman

    async def filesystem(self, container: str, image: str, labels: Mapping[str, str]) -> str:
        raise NotImplementedError

    async def volume(self, source: str, target: str, helper_image: str, labels: Mapping[str, str]) -> None:
        raise NotImplementedError

    async def drop(self, image: str) -> None:
        return
