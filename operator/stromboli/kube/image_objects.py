"""The AgentImages of one namespace, as a user of the cluster handles them: found, created, read, deleted.

All calls raise HttpFailed (HttpRefused with the API server's status and words), or ClusterUnavailable for credentials
that cannot be read. Bound to one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError
from yaml import YAMLError

from stromboli import bounds
from stromboli.errors import HttpRefused, LocalFailure
from stromboli.kube import objects
from stromboli.kube.client import AgentImageKind
from stromboli.kube.plain import Plain
from stromboli.kube.wire import measure_kubeconfig
from stromboli.models.image import AgentImage
from stromboli.models.objects import entries, fields, text
from stromboli.naming import API_VERSION


class ImageObjects:
    """A context manager. Names must be valid: they become part of a path."""

    def __init__(self, kubeconfig: Path, namespace: str | None) -> None:
        """`namespace` is by default the kubeconfig's. Raises LocalFailure if that leads to no cluster."""
        config = _config(kubeconfig)
        self._plain = Plain(config)
        self._namespace = namespace or config.namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plain.close()

    async def all(self) -> AsyncIterator[AgentImage]:
        """Every AgentImage of the namespace."""
        query: dict[str, str] = {}
        while True:
            page = fields(bounds.json_object(await self._plain.list(AgentImageKind, query, namespace=self._namespace)))
            for item in entries(page.get("items")):
                yield objects.image(item)
            more = text(fields(page.get("metadata")).get("continue"))
            if not more:
                return
            query["continue"] = more

    async def create(self, name: str, image: str, secrets: Sequence[str] = ()) -> AgentImage | None:
        """A new one for this image, pulled with these Secrets; None if there is one of that name."""
        spec: dict[str, object] = {"image": image}
        if secrets:
            spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
        body = {
            "apiVersion": API_VERSION,
            "kind": AgentImage.KIND,
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            return _read(await self._plain.create(AgentImageKind, body, namespace=self._namespace))
        except HttpRefused as refused:
            if refused.status == 409:
                return None
            raise

    async def get(self, name: str) -> AgentImage | None:
        """The one of that name, if there is one."""
        try:
            return _read(await self._plain.get(AgentImageKind, name, namespace=self._namespace))
        except HttpRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def delete(self, name: str) -> None:
        """Delete it, unless it is gone already."""
        try:
            await self._plain.delete(AgentImageKind, name, namespace=self._namespace)
        except HttpRefused as refused:
            if refused.status != 404:
                raise


def _read(content: bytes) -> AgentImage:
    return objects.image(fields(bounds.json_object(content)))


def _config(kubeconfig: Path) -> SingleConfig:
    try:
        measure_kubeconfig(kubeconfig)
        found = KubeConfig.from_file(kubeconfig).get()
        if found is None or found.user is None:
            raise LookupError
        return found
    except (ConfigError, OSError, YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:
        raise LocalFailure(
            f"{kubeconfig} does not lead to a cluster", "set KUBECONFIG to the kubeconfig of the operator's cluster"
        ) from e
