"""Whether an image that Podman found is one that the reference may mean. Pure.

Podman takes a digest for enough: asked for `python@sha256:…`, it answers with whatever image on the node has that
digest, from whichever repository it came. Policies admit repositories, though. So an image counts only where the
admitted repository itself knows it: by this tag, or by this digest. Podman computes `RepoDigests` from all names of an
image and all digests of its manifests, and records a pull under the name that was asked for, also where a mirror
answered; what was loaded or built bears its names as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from stromboli import naming
from stromboli.grammar.reference import HUB, Reference

# The host part that Podman gives to what was built on the machine: no registry listens there. `localhost:5000` is one.
LOCAL = "localhost"


def is_meant(reference: Reference, repo_tags: Iterable[str], repo_digests: Iterable[str]) -> bool:
    """Whether the reference's own repository knows an image of these names. Session copies are never meant."""
    tags, digests = tuple(repo_tags), tuple(repo_digests)
    if is_copy(tags, digests):
        return False
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}" in digests
    return f"{reference.name}:{reference.tag}" in tags


def is_copy(repo_tags: Iterable[str], repo_digests: Iterable[str]) -> bool:
    """Whether an image is a copy of a session's container, whatever else it is called."""
    copies = "/".join(naming.COPIES)
    return any(name.startswith((f"{copies}:", f"{copies}@")) for name in (*repo_tags, *repo_digests))


def is_local(reference: Reference) -> bool:
    """Whether there is no registry to ask for it."""
    return reference.registry == LOCAL


def local_twin(reference: Reference) -> Reference | None:
    """The image of the same name that was built on the node, which somebody may have meant by a short name.

    Podman itself, given `mine:1`, tries `localhost/mine:1` first; here a name without a registry is the hub's.
    """
    if reference.registry != HUB:
        return None
    return Reference(LOCAL, reference.path.removeprefix("library/"), reference.tag, reference.digest)
