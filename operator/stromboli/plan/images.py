"""Whether an image that Podman found is one that the reference can mean. Pure.

For Podman a digest is enough: asked for `python@sha256:…`, it returns any image on the node with that digest, from any
repository. But policies admit repositories. So an image counts only if it is known under the admitted repository: by
this tag, or by this digest. Podman computes `RepoDigests` from all names of an image and all digests of its manifests,
and records a pull under the requested name, even if a mirror answered; loaded and built images have their names too.
"""

from __future__ import annotations

from collections.abc import Iterable

from stromboli import naming
from stromboli.grammar.reference import HUB, Reference

# The registry in Podman's names of locally built images: nothing listens there. (`localhost:5000` is a registry.)
LOCAL = "localhost"


def is_meant(reference: Reference, repo_tags: Iterable[str], repo_digests: Iterable[str]) -> bool:
    """Whether an image with these names is known under the reference's repository. Sessions' own images never are."""
    tags, digests = tuple(repo_tags), tuple(repo_digests)
    if is_copy(tags, digests):
        return False
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}" in digests
    return f"{reference.name}:{reference.tag}" in tags


def is_copy(repo_tags: Iterable[str], repo_digests: Iterable[str]) -> bool:
    """Whether one of an image's names is that of a copy of a session's container, or of a build for its stack."""
    own = tuple(f"{'/'.join(name)}{end}" for name in (naming.COPIES, naming.BUILDS) for end in ":@")
    return any(name.startswith(own) for name in (*repo_tags, *repo_digests))


def is_local(reference: Reference) -> bool:
    """Whether the image has no registry."""
    return reference.registry == LOCAL


def local_twin(reference: Reference) -> Reference | None:
    """The reference to the image that was built on the node under the same name, which a short name may have meant.

    Podman itself, given `mine:1`, tries `localhost/mine:1` first; here a name without a registry is the hub's.
    """
    if reference.registry != HUB:
        return None
    return Reference(LOCAL, reference.path.removeprefix("library/"), reference.tag, reference.digest)
