"""`RUN --mount`: what a mount asks for → one that cannot lead out of the build.

Three mounts give a build the node's own files, where the builder is Buildah 1.28 (Podman 4.3): a bind whose source is a
link, in the context or in an image; and a cache whose id has `..` in it. So a bind becomes one from a stage of ours,
into which its source is copied, since a copy follows links within its root only. A cache would be shared with all
other builds of the node: it becomes a tmpfs, which is a cache that is empty each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

COPIED = "/mounted"  # where in its stage a copy is
_TYPES = {
    "bind": {"from", "source", "target", "ro", "rw"},
    "cache": {"target", "id", "sharing", "ro", "rw", "mode", "uid", "gid", "source"},
    "tmpfs": {"target", "size"},
}
_NAMES = {"src": "source", "dst": "target", "destination": "target", "readonly": "ro", "readwrite": "rw"}
_SPECIAL = "\"'\\`$*?[]\0"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount. `copies`: what it shows is copied before; `source_image` is a stage or an image, None is the context.

    `path` is empty for all of it.
    """

    target: str
    copies: bool = False
    source_image: str | None = None
    path: str = ""
    writable: bool = False
    size: str | None = None

    def written(self, stage: str | None) -> str:
        """The option's value; `stage` has the copy."""
        if stage is None:
            return f"type=tmpfs,target={self.target}" + (f",tmpfs-size={self.size}" if self.size else "")
        return f"type=bind,from={stage},source={COPIED},target={self.target}" + (",rw" if self.writable else "")


def parse(value: str, line: int) -> Mount:
    """The mount that the option's value describes. Raises InvalidInput."""
    if any(character in value for character in _SPECIAL):
        raise InvalidInput(f"line {line}: a --mount is written out, without quotes, variables and patterns")
    fields = dict[str, str]()
    for part in value.split(","):
        name, _, text = part.partition("=")
        name = _NAMES.get(name, name)
        if name in fields:
            raise InvalidInput(f"line {line}: a --mount gives the option {quoted(name)} twice")
        fields[name] = text
    kind = fields.pop("type", "bind")
    if kind not in _TYPES:
        raise InvalidInput(
            f"line {line}: RUN --mount is of type {', '.join(_TYPES)}; a build gets no secrets and no agent of ssh"
        )
    for name in fields:
        if name not in _TYPES[kind]:
            raise InvalidInput(f"line {line}: a --mount of type {kind} has no option {quoted(name)} here")
    if not fields.get("target"):
        raise InvalidInput(f"line {line}: a --mount names its target")
    if kind != "bind":
        return Mount(fields["target"], size=fields.get("size"))
    return Mount(
        fields["target"],
        copies=True,
        source_image=fields.get("from"),
        path=_inside(fields.get("source", ""), line),
        writable=fields.get("rw", "false") in ("", "true"),
    )


def _inside(path: str, line: int) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidInput(f"line {line}: the source of a --mount has no ..")
    return "/".join(parts)
