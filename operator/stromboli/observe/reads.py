"""Everything that observe/ may call on the cluster, Podman and the operator's folders: reads only.

The clients satisfy these protocols, and nothing here imports them. The clients document each method.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from stromboli.models.image import AgentImage
from stromboli.models.objects import Object
from stromboli.models.policy import Policy
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.naming import ContainerKey
from stromboli.plan.redaction import Secrets
from stromboli.podman.container_state import ContainerState

# Finds one of a session's containers: `attempt.containers.find`, on this node.
Find = Callable[[ContainerKey], Awaitable[ContainerState | None]]


class ClusterReads(Protocol):
    """The reads of `kube.client.Cluster`."""

    async def run(self, namespace: str, name: str) -> Run | None: ...

    async def run_heads(self, namespace: str, session: str) -> list[Object]: ...

    async def session(self, namespace: str, name: str) -> Session | None: ...

    async def session_outline(self, namespace: str, name: str) -> Session | None: ...

    def sessions(self) -> AsyncIterator[Session]: ...

    def images(self) -> AsyncIterator[AgentImage]: ...

    async def policies(self) -> list[Policy]: ...

    async def namespace_labels(self, name: str) -> Mapping[str, str]: ...

    async def has_namespace(self, name: str) -> bool: ...

    async def config_map_data(self, namespace: str, name: str) -> dict[str, bytes] | None: ...

    async def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None: ...


class FolderReads(Protocol):
    """The reads of `attempt.folder.SessionFolder`."""

    def attempt(self, run_uid: str, number: int) -> Path: ...

    def read_given(self, attempt: str) -> Secrets: ...


class SiteReads(Protocol):
    """The reads of `attempt.site.Site`."""

    def folder(self, uid: str) -> FolderReads: ...
