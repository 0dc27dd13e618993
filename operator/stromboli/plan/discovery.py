"""Which of the node's images a list shows, under which references, and in which order. Pure.

Not here: what is said of each (plan/holding.py), and which of them a namespace may use (plan/admission.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from stromboli.errors import InvalidInput
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.plan import images as rules
from stromboli.plan.policy import CLI

_UNKNOWN = 5  # sorted like a rank: after those that are not compatible


def references(
    repo_tags: Iterable[str], repo_digests: Iterable[str], digest: str, cli: CLI | None = None
) -> tuple[Reference, ...]:
    """How a run may name an image with these names: by its tags, and by digest in repositories where it has no tag.

    `digest` is the image's own, which is preferred to that of an index. Copies of sessions are not for use by name, and
    neither is the image that `cli` comes from.
    """
    if rules.is_copy(repo_tags := tuple(repo_tags), repo_digests := tuple(repo_digests)):
        return ()
    tagged = [found for name in repo_tags if (found := _parsed(name)) is not None]
    digests: dict[str, Reference] = {}
    for name in repo_digests:
        image = _parsed(name)
        if image is not None and (image.name not in digests or image.digest == digest):
            digests[image.name] = image
    tagged_names = {image.name for image in tagged}
    untagged = [image for name, image in digests.items() if name not in tagged_names]
    return tuple(image for image in dict.fromkeys([*tagged, *untagged]) if not _is_internal(image, cli))


def order(image: Reference, rank: int | None) -> tuple[int, str, str]:
    """The key by which a list is sorted: rank, repository, tag. Not inspected ones are last."""
    return (_UNKNOWN if rank is None else rank, image.name, image.tag or image.digest or "")


def _parsed(name: str) -> Reference | None:
    try:
        return reference.parse(name)
    except InvalidInput:  # such as <none>@sha256:…
        return None


def _is_internal(image: Reference, cli: CLI | None) -> bool:
    return cli is not None and cli.reference is not None and image.name == cli.reference.name
