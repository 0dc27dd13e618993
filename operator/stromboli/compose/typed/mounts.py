"""What is mounted in a service: `volumes` in their long form, `tmpfs`, `secrets`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, model_validator

from stromboli.compose import stack
from stromboli.compose.forms import tmpfs
from stromboli.compose.forms.path import clean
from stromboli.compose.forms.tmpfs import MODES
from stromboli.compose.problem import quoted
from stromboli.compose.typed import targets
from stromboli.compose.typed.base import Ignored, Obeyed, Strict, Wrong
from stromboli.compose.typed.values import Boolean, Mode, Octets, Word, form, integer, octal, one_of, text, word
from stromboli.errors import InvalidInput
from stromboli.grammar import reference

SECRETS = "/run/secrets"
_LARGEST_ID = 2**32 - 2


def _target(value: object) -> str:
    return targets.target(text(value))


def _tmpfs(value: object) -> tmpfs.Tmpfs:
    found = form(tmpfs.parse)(value)
    targets.target(found.target)
    return found


def _mode(value: object) -> int:
    """Of a folder: with the sticky bit, as /tmp has it."""
    found = octal(value) if isinstance(value, str) else integer(value)
    if not 0 <= found <= MODES:
        raise ValueError("is not the mode of a folder such as 01777")
    return found


def _id(value: object) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value) and int(value) <= _LARGEST_ID:
        return int(value)
    raise ValueError('is not a number in quotes, such as "1000"')


def image(value: object) -> str:
    """A reference of an image, as it is written. Raises ValueError."""
    found = word(value)
    try:
        reference.parse(found)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    return found


Target = Annotated[str, BeforeValidator(_target)]
Tmpfs = Annotated[tmpfs.Tmpfs, BeforeValidator(_tmpfs)]


class BindOptions(Strict):
    """`volumes[].bind`."""

    refused: ClassVar = {"recursive": "what is mounted below the folder comes along; take it out"}

    create_host_path: Annotated[Boolean, Obeyed("A missing folder is created, beneath an allowed one only.")] = True
    propagation: Annotated[
        Annotated[str, BeforeValidator(one_of("rprivate", "private"))] | None,
        Ignored("only rprivate and private are accepted: mounts are never passed on to the node, nor from it"),
    ] = None
    selinux: Annotated[
        Annotated[str, BeforeValidator(one_of("z", "Z"))] | None, Ignored("folders of the node are not relabelled")
    ] = None


class VolumeOptions(Strict):
    """`volumes[].volume`."""

    refused: ClassVar = {
        "subpath": "mount the whole volume",
        "labels": "set them on the volume itself, under the top-level volumes",
    }

    nocopy: Annotated[Boolean, Obeyed()] = False


class TmpfsOptions(Strict):
    """`volumes[].tmpfs`."""

    size: Annotated[Octets | None, Obeyed("Within the memory that a policy allows.")] = None
    mode: Annotated[Annotated[int, BeforeValidator(_mode)] | None, Obeyed()] = None


class ImageOptions(Strict):
    """`volumes[].image`."""

    refused: ClassVar = {"subpath": "mount the whole image"}


class Volume(Strict):
    """One of a service's volumes."""

    type: Annotated[
        Annotated[str, BeforeValidator(one_of("bind", "volume", "tmpfs", "image"))], Obeyed("Not `npipe` or `cluster`.")
    ]
    source: Annotated[
        Word | None,
        Obeyed(
            "A file or folder of the node that a policy allows (no sockets or devices), a volume of the file, an image."
        ),
    ] = None
    target: Annotated[
        Target, Obeyed("Not on or under `/proc`, `/sys`, `/dev`, `/run/stromboli`, `/opt/claude`, `/etc/claude-code`.")
    ]
    read_only: Annotated[Boolean, Obeyed()] = False
    consistency: Annotated[
        Annotated[str, BeforeValidator(one_of("consistent", "cached", "delegated", "default"))] | None,
        Ignored("it is for Docker on macOS"),
    ] = None
    bind: Annotated[BindOptions | None, Obeyed()] = None
    volume: Annotated[VolumeOptions | None, Obeyed()] = None
    tmpfs: Annotated[TmpfsOptions | None, Obeyed()] = None
    image: Annotated[ImageOptions | None, Obeyed()] = None

    @model_validator(mode="after")
    def _whole(self) -> Volume:
        for kind in ("bind", "volume", "tmpfs", "image"):
            if kind != self.type and getattr(self, kind) is not None:
                raise Wrong((kind,), f"is only for a volume of type {kind}, and this one is of type {self.type}")
        if self.type in ("bind", "image") and self.source is None:
            raise Wrong(("source",), f"is missing: a volume of type {self.type} needs one")
        if self.type == "tmpfs" and self.source is not None:
            raise Wrong(("source",), "cannot be given for a tmpfs; take it out")
        if self.type == "bind" and self.source is not None and not self.source.startswith("/"):
            raise Wrong(("source",), f'"{quoted(self.source)}" is not a path of the node')
        if self.type == "image":
            try:
                image(self.source)
            except ValueError as e:
                raise Wrong(("source",), str(e)) from e
        return self

    def typed(self, at: str) -> stack.Mount:
        source = self.source or ""
        match self.type:
            case "bind":
                create = self.bind is None or self.bind.create_host_path
                return stack.Bind(at, clean(source), self.target, self.read_only, create)
            case "image":
                return stack.ImageMount(at, source, self.target)
            case "tmpfs":
                options = self.tmpfs or TmpfsOptions()
                return stack.Tmpfs(at, self.target, options.size, options.mode, self.read_only)
            case _:
                no_copy = self.volume is not None and self.volume.nocopy
                if self.source is None:
                    return stack.Anonymous(at, self.target, self.read_only, no_copy)
                return stack.Named(at, self.source, self.target, self.read_only, no_copy)


def typed_tmpfs(at: str, given: tmpfs.Tmpfs) -> stack.Tmpfs:
    """An entry of a service's `tmpfs`."""
    return stack.Tmpfs(at, given.target, given.size, given.mode, given.read_only)


class Secret(Strict):
    """One of a service's secrets."""

    source: Annotated[Word, Obeyed("One of the file's `secrets`.")]
    target: Annotated[Word | None, Obeyed(f"`{SECRETS}/NAME` by default; a name alone is one in `{SECRETS}`.")] = None
    uid: Annotated[Annotated[int, BeforeValidator(_id)] | None, Obeyed()] = None
    gid: Annotated[Annotated[int, BeforeValidator(_id)] | None, Obeyed()] = None
    mode: Annotated[Mode, Obeyed("Permissions only; 0444 by default.")] = 0o444

    @model_validator(mode="after")
    def _whole(self) -> Secret:
        try:
            targets.target(self.path)
        except ValueError as e:
            raise Wrong(("target",), str(e)) from e
        return self

    @property
    def path(self) -> str:
        """Where it is in the container."""
        name = self.target or self.source
        return clean(name if name.startswith("/") else f"{SECRETS}/{name}")

    def typed(self, at: str, mounted_at: str, file: str) -> stack.SecretMount:
        return stack.SecretMount(at, mounted_at, file, self.path, self.mode, self.uid, self.gid)
