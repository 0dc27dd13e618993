"""Images that we make from containers: commit, flatten, list, remove. When to copy what is decided elsewhere.

A commit adds the container's writable layer to the layers of its image. Mounted files and Podman secrets are not
included, only their empty mount points. A flattened image has a single layer: Podman builds the same image again,
squashed, which keeps its configuration and all file owners, and no data passes through us. Export and import instead
took twice as long (100 MB: 2.6 s instead of 1.3 s) and lose the configuration.

Podman sets no time limit on commit and build, and sends nothing until they are done. Until then both keep their data
in Podman's temporary folder (/var/tmp), where it is left behind if Podman itself is killed.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stromboli.errors import NotFound
from stromboli.podman.connection import Connection, image_segment, label_filter
from stromboli.podman.failures import answer, reading, refusal

_WRITING = 3600.0  # seconds; both copying and removing take time by size, some 18 ms per MB on a slow disk
_CONTAINERFILE = "Containerfile"


@dataclass(frozen=True, slots=True)
class Copy:
    """One image. `names` is empty if its name has since moved to another image."""

    id: str
    names: tuple[str, ...]
    labels: Mapping[str, str]


class Copies:
    """The images of one Podman that were made from containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def commit(self, container: str, image: str, changes: Sequence[str] = ()) -> str:
        """Commit a stopped container's files as an image of that name; returns the image's id. Raises NotFound.

        `changes` are Containerfile instructions (`LABEL a=b`); without them, the image gets the container's own
        entrypoint, command, user and labels. Podman 4 takes each literally, Podman 5 parses it as a Containerfile, so
        use only what both read alike: no quotes, blanks or `$` except inside JSON. An image that already has the name
        stays, but loses the name.
        """
        repository, _, tag = image.rpartition(":")
        # Explicitly the OCI format: it cannot carry an ONBUILD instruction, which `flatten` would execute.
        params = {"container": container, "repo": repository, "tag": tag, "format": "oci", "changes": list(changes)}
        response = await self._connection.request("POST", "/commit", params=params, silence=_WRITING)
        with reading("a commit"):
            return _bare(answer(response.content)["Id"])

    async def flatten(self, source: str, image: str) -> str:
        """Make a single-layer image with the configuration of `source` and the name `image`; returns the new id.

        `source` is the id of an image committed here. Podman adds a label of its own (`io.buildah.version`).
        """
        params = {
            "t": image,
            "dockerfile": _CONTAINERFILE,
            "squash": "true",  # in the API, this means all layers, including those of `source`
            "layers": "false",
            "forcerm": "true",
            "q": "true",
        }
        await self._build(params, _context(f"FROM {source}\n"))
        made = await self.inspect(image)
        if made is None:
            raise NotFound(f"image {image} was built but is not there", 404)
        return made.id

    async def inspect(self, image: str) -> Copy | None:
        """An image by name or id; None only if Podman says that it does not exist."""
        try:
            response = await self._connection.request("GET", f"/images/{image_segment(image)}/json")
        except NotFound:
            return None
        with reading("an image"):
            entry = answer(response.content)
            return Copy(_bare(entry["Id"]), tuple(entry["RepoTags"] or ()), dict(entry["Labels"] or {}))

    async def layers(self, image: str) -> int:
        """The number of layers of an image. Raises NotFound."""
        response = await self._connection.request("GET", f"/images/{image_segment(image)}/json")
        with reading("an image's layers"):
            return len(answer(response.content)["RootFS"]["Layers"] or ())

    async def images(self, labels: Mapping[str, str]) -> list[Copy]:
        """All images that have all of these labels, including untagged ones."""
        # Filter by one label only: with several, 4.3.1 finds no image at all.
        first = dict(list(labels.items())[:1])
        params = {"all": "true", "filters": label_filter(first)}
        response = await self._connection.request("GET", "/images/json", params=params)
        with reading("its images"):
            found = [
                Copy(_bare(entry["Id"]), tuple(entry.get("Names") or ()), dict(entry.get("Labels") or {}))
                for entry in answer(response.content) or []
            ]
        return [copy for copy in found if labels.items() <= copy.labels.items()]

    async def remove(self, image: str, *, force: bool = False) -> bool:
        """Remove an image by its only name, or by id; False if it is gone.

        An image in use by a container raises PodmanError with status 409; with `force`, those containers are removed
        too. Layers shared with other images stay.
        """
        params = {"force": "true" if force else "false"}
        try:
            await self._connection.request("DELETE", f"/images/{image_segment(image)}", params=params, silence=_WRITING)
        except NotFound:
            return False
        return True

    async def _build(self, params: Mapping[str, str], context: bytes) -> None:
        """Build an image."""
        response = await self._connection.request("POST", "/build", params=params, archive=context, silence=_WRITING)
        for line in response.content.split(b"\n"):  # a failed build is HTTP 200, with the error in its last line
            with reading("a build"):
                failure = answer(line).get("error") if line.strip() else None
            if failure:
                raise refusal(response.status, str(failure).encode(), "POST /build")


def _context(containerfile: str) -> bytes:
    """The build context: a tar file that contains only the Containerfile."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(_CONTAINERFILE)
        entry.size = len(containerfile)
        tar.addfile(entry, io.BytesIO(containerfile.encode()))
    return archive.getvalue()


def _bare(image_id: str) -> str:
    return image_id.removeprefix("sha256:")
