"""The only way in for an image reference, in whichever field it is: parsed once, checked once. Pure.

A slot is the field that has the reference (`spec.image`), for the message of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable

from stromboli import naming
from stromboli.errors import InvalidInput, Refused
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason


def admit(text: str, policy: Effective, slot: str) -> Reference:
    """The image that a reference names, if the policy admits it.

    Raises Refused: InvalidSpec if it is not a reference, ImageNotAllowed with the slot and the policy's owner.
    """
    try:
        image = reference.parse(text)
    except InvalidInput as e:
        raise invalid(slot, e.message) from e
    for check in CHECKS:
        check(image, policy, slot)
    return image


def is_admitted(image: Reference, policy: Effective) -> bool:
    """Whether every allowlist has a pattern for the image."""
    return all(rules.admits(image) for rules in policy.allowlists)


def is_repository_admitted(image: Reference, policy: Effective) -> bool:
    """Whether every allowlist has a pattern for some images of the reference's repository."""
    return all(rules.admits_some(image) for rules in policy.allowlists)


def is_nobodys_copy(image: Reference, policy: Effective, slot: str) -> None:
    """Refuse the copies of other sessions' file systems, which are on the node as images of ours."""
    if (image.registry, image.path) == naming.COPIES:
        raise _not_allowed(
            slot, f"the image {image} is the copy of a session; fork that session with spec.session.fork"
        )


def is_nobodys_build(image: Reference, policy: Effective, slot: str) -> None:
    """Refuse the images that were built for other sessions' stacks, from what those are allowed to read."""
    if (image.registry, image.path) == naming.BUILDS:
        raise _not_allowed(slot, f"the image {image} was built for the stack of a session; write a build of your own")


def every_allowlist_has_a_pattern(image: Reference, policy: Effective, slot: str) -> None:
    for rules in policy.allowlists:
        if not rules.admits(image):
            patterns = ", ".join(pattern.text for pattern in rules.patterns)
            raise _not_allowed(slot, f"the image {image} is not allowed by {rules.owner}, which allows {patterns}")


def a_digest_is_given(image: Reference, policy: Effective, slot: str) -> None:
    if policy.require_digest and image.digest is None:
        raise _not_allowed(
            slot,
            f"the image {image} names no digest, which {policy.require_digest} requires; "
            f"write {image.registry}/{image.path}@sha256:…",
        )


def _not_allowed(slot: str, message: str) -> Refused:
    return Refused(Reason.ImageNotAllowed, f"{slot}: {message}")


Check = Callable[[Reference, Effective, str], None]
CHECKS: tuple[Check, ...] = (is_nobodys_copy, is_nobodys_build, every_allowlist_has_a_pattern, a_digest_is_given)
