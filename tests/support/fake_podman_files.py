"""The archive API of the fake Podman: files of containers' images, and of volumes that are mounted over them."""

from __future__ import annotations

import base64
import io
import json
import posixpath
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from stromboli.inspection.opener import Found
from tests.support.fake_podman_images import error
from tests.support.fake_podman_state import FakeContainer, FakeState
from tests.support.fake_podman_wire import Call
from tests.support.opener import DirectoryOpener

_GO_DIRECTORY, _GO_LINK, _GO_PIPE = 1 << 31, 1 << 27, 1 << 25


@dataclass(frozen=True, slots=True)
class _Place:
    """A path of a container: the folder on the host in which it lies, where that is mounted, and the path inside."""

    root: Path
    mount: str
    path: str


class FakeFiles(FakeState):
    """Handlers of the calls about files."""

    async def _stat(self, request: Call) -> web.Response:
        container = self.find(request.match_info["name"])
        if container is not None and request.query["path"] in container.folders:
            return _described({"name": "", "size": 0, "linkTarget": "", "mode": _GO_DIRECTORY | 0o755})
        found = await self._found(request)
        if isinstance(found, web.Response):
            return found
        place, file = found
        info = (place.root / file.path.lstrip("/")).stat()
        kind = {stat.S_IFDIR: _GO_DIRECTORY, stat.S_IFIFO: _GO_PIPE}.get(stat.S_IFMT(info.st_mode), 0)
        if file.path != place.path:  # the real one describes the link itself, and its final target
            kind |= _GO_LINK
        answer = {"name": Path(file.path).name, "size": file.size, "linkTarget": place.mount + file.path}
        answer["mode"] = kind | stat.S_IMODE(info.st_mode)
        return _described(answer)

    async def _extract(self, request: Call) -> web.Response:
        """Only folders, which are noted and not made: an image's files are shared."""
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        with tarfile.open(fileobj=io.BytesIO(request.body)) as tar:
            for member in tar.getmembers():
                assert member.isdir(), member.name
                container.folders.add(posixpath.join(request.query["path"], member.name))
        return web.Response(status=200)

    async def _archive(self, request: Call) -> web.Response:
        found = await self._found(request)
        if isinstance(found, web.Response):
            return found
        place, file = found
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(place.root / file.path.lstrip("/"), Path(request.query["path"]).name)
        return web.Response(body=archive.getvalue(), content_type="application/x-tar")

    async def _found(self, request: Call) -> tuple[_Place, Found] | web.Response:
        """What is at the path of a call, or the answer that nothing is."""
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        place = self._place(container, request.query["path"])
        opener = DirectoryOpener(place.root)
        file = await opener.stat(place.path)
        return await _nothing_at(opener, place.path) if file is None else (place, file)

    def _place(self, container: FakeContainer, path: str) -> _Place:
        for volume in container.body.get("volumes") or ():
            mount = str(volume["Dest"])
            if volume["Name"] in self.volume_files and (path + "/").startswith(mount + "/"):
                return _Place(self.volume_files[volume["Name"]], mount, path.removeprefix(mount) or "/")
        return _Place(self.root(container), "", path)


def _described(answer: dict[str, object]) -> web.Response:
    encoded = base64.b64encode(json.dumps(answer).encode()).decode()
    return web.Response(headers={"X-Docker-Container-Path-Stat": encoded})


async def _nothing_at(opener: DirectoryOpener, path: str) -> web.Response:
    if await opener.is_circle(path):
        return error(500, f"copier: stat: open {path}: too many levels of symbolic links")
    return error(404, "no such file or directory")
