"""What can be wrong between a node and a registry: a closed set, for what Podman says and for the operator's own calls.

Which message means which problem is in `podman/failures.py` and `registries.py`; what it means for a run, in `plan/`.
"""

from __future__ import annotations

from enum import StrEnum


class RegistryProblem(StrEnum):
    """Why an image, or what a registry knows about it, cannot be had."""

    NOT_FOUND = "not found"
    DENIED = "access denied"
    RATE_LIMITED = "rate limited"
    UNAVAILABLE = "registry unavailable"
    SILENT = "no data"  # the registry answered, and then sent nothing more
    CUT = "broken off"  # the connection ended in the middle of a layer
    DIGEST_MISMATCH = "digest mismatch"
    NO_PLATFORM = "no such platform"  # the index has no image for the node's
    NOT_A_REGISTRY = "not a registry"  # it answers with a web page
    UNKNOWN = "unknown"

    @property
    def permanent(self) -> bool:
        """Whether asking again will not help as long as nobody changes the reference, the registry or a credential."""
        return self in _PERMANENT

    @property
    def remedy(self) -> str:
        """What to do about it, as the rest of a sentence."""
        return _REMEDIES[self]


_PERMANENT = frozenset(
    {
        RegistryProblem.NOT_FOUND,
        RegistryProblem.DENIED,
        RegistryProblem.NO_PLATFORM,
        RegistryProblem.NOT_A_REGISTRY,
    }
)
_REMEDIES = {
    RegistryProblem.NOT_FOUND: "check the image's name and tag",
    RegistryProblem.DENIED: "check the image's name and tag, and that imagePullSecrets names credentials for it",
    RegistryProblem.RATE_LIMITED: "asked again once the registry allows more requests",
    RegistryProblem.UNAVAILABLE: "asked again soon",
    RegistryProblem.SILENT: "asked again soon",
    RegistryProblem.CUT: "asked again soon",
    RegistryProblem.DIGEST_MISMATCH: "asked again soon; if it stays, the registry or a proxy before it is defective",
    RegistryProblem.NO_PLATFORM: "name an image that is built for the node's platform",
    RegistryProblem.NOT_A_REGISTRY: "check the registry's host name and port, and the proxy before it",
    RegistryProblem.UNKNOWN: "asked again soon",
}
