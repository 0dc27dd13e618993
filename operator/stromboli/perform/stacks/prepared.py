"""What the gates find out about a run's environment. No decisions here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.compose.selection import Selected
from stromboli.compose.stack import Service, Stack
from stromboli.grammar.reference import Reference
from stromboli.plan.stack.sources import Source
from stromboli.podman.images import ImageInfo


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stack that the policies allow. `references` are the images of its services; `sources` are the node's files
    that it mounts, by key, and `secrets` the contents of its secrets' files, by path. `notices` are sentences.
    """

    stack: Stack
    selected: Selected
    references: Mapping[str, Reference]
    sources: Mapping[str, Source]
    secrets: Mapping[str, bytes]
    notices: tuple[str, ...]

    @property
    def agent(self) -> Service:
        """The service in which the agent runs."""
        return self.selected.services[self.selected.agent]


@dataclass(frozen=True, slots=True)
class StackImages:
    """The images of a stack on the node: of its services, and those that services mount, by reference."""

    services: Mapping[str, ImageInfo]
    mounted: Mapping[str, ImageInfo]
