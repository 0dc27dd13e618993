"""A container registry on loopback that does what a test wants: the part of the OCI distribution specification that a
pull needs, and the older search. A registry as it should be is in `registry.py`.

Images have one layer of random bytes; `refuse`, `corrupt`, `tear`, `stall` and `drip` inject failures and delays.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from aiohttp import web

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DROPS = 16


class FakeRegistry:
    """A context manager that serves on `address` (`127.0.0.1:PORT`).

    `stalled` is set once a download hangs, `left` once the client has given up on it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.stalled = asyncio.Event()
        self.left = asyncio.Event()
        self._blobs: dict[str, tuple[str, bytes]] = {}
        self._names: dict[tuple[str, str], str] = {}
        # What a search finds, in the form of the search API.
        self.found: list[dict[str, Any]] = []
        self._searches_hang = False
        self._refusal: Callable[[], web.Response] | None = None
        self._torn = False
        self._stalls = False
        self._pause = 0.0
        application = web.Application()
        application.router.add_get("/v1/search", self._search)
        application.router.add_get("/v2/", self._hello)
        application.router.add_get("/v2/{name:.+}/manifests/{reference}", self._manifest)
        application.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        host, _, port = self.address.rpartition(":")
        await web.TCPSite(self._runner, host, int(port), reuse_address=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def publish(self, name: str, tag: str, *, size: int, architecture: str = "amd64") -> str:
        """Publish an image with one file of `size` bytes. Returns the manifest's digest."""
        layer = _layer(f"{name}:{tag} {size}", size)
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        described = [self._add(_CONFIG, json.dumps(config).encode()), self._add(_LAYER, layer)]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[0], "layers": described[1:]}
        digest = str(self._add(_MANIFEST, json.dumps(manifest).encode())["digest"])
        self._names |= {(name, tag): digest, (name, digest): digest}
        return digest

    def publish_saved(self, name: str, tag: str, folder: Path) -> str:
        """Publish an image saved by `podman save --format oci-dir`. Returns the manifest's digest."""
        index = json.loads((folder / "index.json").read_bytes())
        manifest = json.loads(_blob(folder, index["manifests"][0]["digest"]))
        for described in (manifest["config"], *manifest["layers"]):
            self._add(described["mediaType"], _blob(folder, described["digest"]))
        digest = str(self._add(_MANIFEST, _blob(folder, index["manifests"][0]["digest"]))["digest"])
        self._names |= {(name, tag): digest, (name, digest): digest}
        return digest

    def publish_again(self, digest: str, name: str, tag: str) -> None:
        """Publish an existing image in another repository too."""
        self._names |= {(name, tag): digest, (name, digest): digest}

    def publish_index(self, name: str, tag: str, images: Mapping[str, str]) -> str:
        """Publish an index of existing images, by platform (`linux/arm64`). Returns its digest."""
        manifests = []
        for platform, digest in images.items():
            os, _, architecture = platform.partition("/")
            described = {"mediaType": _MANIFEST, "digest": digest, "size": len(self._blobs[digest][1])}
            manifests.append(described | {"platform": {"os": os, "architecture": architecture}})
            self._names[(name, digest)] = digest
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
        digest = str(self._add(_INDEX, json.dumps(index).encode())["digest"])
        self._names |= {(name, tag): digest, (name, digest): digest}
        return digest

    def refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer every manifest request with this error."""
        body = {"errors": [{"code": code, "message": "injected by the test"}]}
        self._refusal = lambda: web.json_response(body, status=status, headers=headers)

    def answer_with_a_page(self, status: int = 200) -> None:
        """Answer every manifest request with a web page, as a portal that wants a login does."""
        self._refusal = lambda: web.Response(text="<html>log in</html>", content_type="text/html", status=status)

    def corrupt(self, digest: str, *, layer: bool = False) -> None:
        """Change a byte of the manifest, or of its layer, without changing its digest."""
        if layer:
            digest = json.loads(self._blobs[digest][1])["layers"][0]["digest"]
        kind, content = self._blobs[digest]
        self._blobs[digest] = (kind, content[:-1] + (b" " if layer else content[-1:] + b" "))

    def never_answer_searches(self) -> None:
        """Accept searches, and answer none of them."""
        self._searches_hang = True

    def tear(self) -> None:
        """Drop the connection in the middle of every layer."""
        self._torn = True

    def stall(self) -> None:
        """Stop sending in the middle of every layer, with the connection left open."""
        self._stalls, self._pause = True, 0.0

    def drip(self, seconds: float) -> None:
        """Make every layer take this long."""
        self._pause = seconds / _DROPS

    async def _hello(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _search(self, _: web.Request) -> web.Response:
        if self._searches_hang:
            await asyncio.Event().wait()
        return web.json_response({"results": self.found} if self.found else {}, status=200 if self.found else 404)

    async def _manifest(self, request: web.Request) -> web.Response:
        if self._refusal is not None:
            return self._refusal()
        digest = self._names.get((request.match_info["name"], request.match_info["reference"]))
        if digest is None:
            return _unknown("MANIFEST_UNKNOWN")
        kind, content = self._blobs[digest]
        return web.Response(body=content, content_type=kind, headers={"Docker-Content-Digest": digest})

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        kind, content = self._blobs[request.match_info["digest"]]
        if not kind.startswith(_LAYER) or not (self._torn or self._stalls or self._pause):
            return web.Response(body=content, content_type=kind)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        if self._pause:
            return await self._drip(response, content)
        await response.write(content[: len(content) // 2])
        if self._stalls:
            self.stalled.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _drip(self, response: web.StreamResponse, content: bytes) -> web.StreamResponse:
        size = -(-len(content) // _DROPS)
        for start in range(0, len(content), size):
            await asyncio.sleep(self._pause)
            await response.write(content[start : start + size])
        return response

    def _add(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = _digest(content)
        self._blobs[digest] = (kind, content)
        return {"mediaType": kind, "digest": digest, "size": len(content)}


def _blob(folder: Path, digest: str) -> bytes:
    return (folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()


def _layer(seed: str, size: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = size
        tar.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
    return archive.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _unknown(code: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": "unknown"}]}, status=404)
