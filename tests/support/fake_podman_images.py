"""The images of the fake Podman, and the copies of containers that become images. The rest is in `fake_podman.py`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.support.fake_podman_state import FakeContainer, FakeImage, FakeState
from tests.support.fake_podman_wire import Answer, Body, Call, in_json

BUILDER = "io.buildah.version"  # the label that every build adds


class FakeImages(FakeState):
    """Handlers of the calls about images."""

    async def _commit(self, request: Call) -> web.Response:
        """The copy has the files of the container's image: the fake does not model files written in the container."""
        if (container := self.find(request.query["container"])) is None:
            return error(404, "no such container")
        base = self._base(container)
        config = _changed(
            {**base.config, "Labels": labels_of(base) | container.labels}, request.query.getall("changes", [])
        )
        return self.made(f"{request.query['repo']}:{request.query['tag']}", base, config, base.layers + 1)

    async def _list_images(self, request: Call) -> web.Response:
        return in_json(
            [
                {
                    "Id": i.id,
                    "Names": i.tags,
                    "RepoTags": i.tags,
                    "RepoDigests": _repo_digests(i),
                    "Digest": f"sha256:{i.id}",
                    "Created": int(datetime.fromisoformat(i.created).timestamp()),
                    "Size": 1,
                    "Labels": i.config.get("Labels"),
                }
                for i in self.images
                if bears(labels_of(i), request)
            ]
        )

    async def _remove_image(self, request: Call) -> web.Response:
        if (image := self.find_image(request.match_info["name"])) is None:
            return error(404, "image not known")
        users = [container for container in self.containers.values() if container.image_id == image.id]
        if users and request.query.get("force") != "true":
            return error(409, "image is in use by a container")
        for container in users:
            self.finish(container, 137)
            del self.containers[container.id]
        self.images.remove(image)
        return in_json({"Deleted": [image.id]})

    async def _inspect_image(self, request: Call) -> web.Response:
        if (image := self.find_image(request.match_info["name"])) is None:
            return error(404, "image not known")
        digest = f"sha256:{image.id}"
        return in_json(
            {
                "Id": image.id,
                "Digest": digest,
                "RepoTags": image.tags,
                "RepoDigests": _repo_digests(image),
                "Architecture": "amd64",
                "Os": "linux",
                "Size": 1,
                "Created": image.created,
                "Config": image.config,
                "Labels": image.config.get("Labels"),
                "History": [{"created_by": each} for each in image.history],
                "RootFS": {"Type": "layers", "Layers": [digest] * image.layers},
            }
        )

    async def _pull(self, request: Call) -> Answer:
        reference = request.query["fromImage"]
        found = self._in_registry(reference, request)
        if isinstance(found, str):
            return in_json({"error": found, "errorDetail": {"message": found}})
        if reference in self.stalled:
            return _half_a_layer()
        self.take_name(reference, found)
        self.images.append(found)
        complete = json.dumps({"status": "Download complete", "progressDetail": {}, "id": "1"})
        return web.Response(text="".join((_layer_at(1 << 20), _layer_at(2 << 20), complete)))

    def _in_registry(self, reference: str, request: Call) -> FakeImage | str:
        """The image, or the error message."""
        logins = self.logins.get(reference.partition("/")[0])
        if logins is not None and _given_login(request) not in logins:
            return f"reading manifest in {reference}: unauthorized: authentication required"
        found = self.registry.get(reference, f"reading manifest in {reference}: manifest unknown")
        if not isinstance(found, dict):
            return found
        system, _, architecture = request.query.get("platform", "linux/amd64").partition("/")
        unknown = f'no image found in image index for architecture {architecture}, variant "", OS {system}'
        return found.get(f"{system}/{architecture}", f"choosing an image from manifest list {reference}: {unknown}")

    async def _search(self, request: Call) -> web.Response:
        registry, _, query = request.query["term"].partition("/")
        found = self.searched.get(registry, f'pinging container registry {registry}: Get "https://{registry}/v2/": ')
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, str):
            message = f'1 error occurred:\n\t* couldn\'t search registry "{registry}": {found}\n\n'
            return in_json({"cause": found, "message": message, "response": 500}, status=500)
        rows = [row for row in found or () if query in row["Name"]]
        return in_json(rows[: int(request.query["limit"])])

    def _base(self, container: FakeContainer) -> FakeImage:
        return next(image for image in self.images if image.id == container.image_id)

    def made(self, name: str, base: FakeImage, config: dict[str, Any], layers: int) -> web.Response:
        """A new image of that name."""
        self.take_name(name)
        made = self.add_image(name, root=base.root, **config)
        made.layers = layers
        return in_json({"Id": made.id}, status=201)

    def take_name(self, name: str, new: FakeImage | None = None) -> None:
        """The image that has the name stays, without it, unless it is the new one."""
        for image in self.images:
            if image is not new:
                image.tags = [tag for tag in image.tags if tag != name]


async def _half_a_layer() -> Body:
    yield _layer_at(1 << 20).encode()
    await asyncio.Event().wait()


def _layer_at(current: int) -> str:
    return f"{json.dumps({'id': '1', 'progressDetail': {'current': current, 'total': 2 << 20}})}\n"


def _given_login(request: Call) -> dict[str, str] | None:
    header = request.headers.get("X-Registry-Auth")
    return None if header is None else dict(json.loads(base64.urlsafe_b64decode(header)))


def error(status: int, cause: str) -> web.Response:
    return in_json({"cause": cause, "message": f"…: {cause}", "response": status}, status=status)


def bears(labels: Mapping[str, str], request: Call, enough: Callable[[Iterable[bool]], bool] = all) -> bool:
    """Whether the labels match the request's filter: all of them, but for volumes Podman accepts any of them."""
    own = {f"{k}={v}" for k, v in labels.items()}
    return enough(label in own for label in json.loads(request.query.get("filters", "{}")).get("label", []))


def _repo_digests(image: FakeImage) -> list[str]:
    """Each name with each digest, as Podman does."""
    digests = [*image.digests, f"sha256:{image.id}"]
    return [f"{tag.rpartition(':')[0]}@{digest}" for tag in image.tags for digest in digests]


def labels_of(image: FakeImage) -> dict[str, str]:
    return dict(image.config.get("Labels") or {})


def _changed(config: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """The configuration after these instructions of a Containerfile."""
    for change in changes:
        instruction, _, text = change.partition(" ")
        match instruction:
            case "LABEL":
                name, _, value = text.partition("=")
                config = {**config, "Labels": config["Labels"] | {name: value}}
            case "ENTRYPOINT":
                config = {**config, "Entrypoint": json.loads(text)}
            case "CMD":
                config = {**config, "Cmd": json.loads(text)}
            case "USER":
                config = {**config, "User": text}
            case _:
                raise AssertionError(f"the fake Podman does not know the change {change}")
    return config
