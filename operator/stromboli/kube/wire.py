"""lightkube's connection to the API server, with every answer cut to a depth that any code can walk.

The API server stores objects up to 10,000 levels deep if a schema leaves a field free. One such object in a list must
neither crash the operator nor hide the others, so what is too deep is replaced by null (bounds.cut_json). A run that
was cut is still deeper than any of its documents may be, and is refused for that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import SingleConfig

from stromboli import bounds, files
from stromboli.errors import InvalidSettings, OutOfBounds
from stromboli.naming import MANAGER

TIMEOUT = httpx2.Timeout(15.0)


def client() -> AsyncClient:
    """A client for the cluster that kubectl would find (in-cluster, KUBECONFIG). Not for watches.

    Raises InvalidSettings for a kubeconfig out of bounds, and what lightkube raises for one that is malformed.
    """
    check_kubeconfig(os.environ)
    config = KubeConfig.from_env().get()
    if config is None or config.user is None:
        raise InvalidSettings("names a file whose current context has no user; name one that has", "KUBECONFIG")
    return AsyncClient(config=config, field_manager=MANAGER, timeout=TIMEOUT, transport=Shallow(_transport(config)))


def plain(config: SingleConfig) -> httpx2.AsyncClient:
    """A client for the same cluster that returns bytes; cut them before decoding."""
    return httpx2.AsyncClient(
        base_url=config.cluster.server,
        auth=user_auth(config.user),
        timeout=TIMEOUT,
        transport=_transport(config),
        headers={"Accept-Encoding": "identity"},
    )


def _transport(config: SingleConfig) -> httpx2.AsyncHTTPTransport:
    assert config.user is not None, "`client` has checked that"
    return httpx2.AsyncHTTPTransport(verify=verify_cluster(config.cluster, config.user, config.abs_file))


def check_kubeconfig(environ: Mapping[str, str]) -> None:
    """Measure the files that lightkube and kopf are about to read. Raises InvalidSettings for one that is out of
    bounds or not YAML.

    They report a missing file, or one of another shape, themselves.
    """
    default = str(Path(environ.get("HOME") or "/") / ".kube/config")
    for path in filter(None, (environ.get("KUBECONFIG") or default).split(os.pathsep)):
        try:
            measure_kubeconfig(Path(path))
        except OutOfBounds as e:
            raise InvalidSettings(f"names {path}, which {e}; name a kubeconfig file", "KUBECONFIG") from e
        except ValueError as e:
            raise InvalidSettings(f"names {path}, which is not YAML; name a kubeconfig file", "KUBECONFIG") from e


def measure_kubeconfig(path: Path) -> None:
    """Raises OutOfBounds, and ValueError if it is not YAML: what our parser cannot read, theirs might."""
    with contextlib.suppress(OSError):
        bounds.measure_yaml(files.beginning(path, bounds.DOCUMENT.size + 1), bounds.DOCUMENT)


class Shallow(httpx2.AsyncBaseTransport):
    """A transport whose responses contain nothing nested deeper than bounds.OBJECT_DEPTH."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"  # a compressed response cannot be cut
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-length"]
        return httpx2.Response(
            response.status_code, headers=headers, stream=_Cut(response.stream), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, whole: httpx2.AsyncByteStream) -> None:
        self._whole = whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield bounds.cut_json(b"".join([piece async for piece in self._whole]))

    async def aclose(self) -> None:
        await self._whole.aclose()
