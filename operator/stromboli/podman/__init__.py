"""The only place that talks to Podman: over its REST socket, asynchronously. Nothing here knows Kubernetes.

One small module a noun (`containers`, `images`, `archive`, `volumes`, `networks`, `events`), each a few
functions whose first argument is the `Podman` of `transport`. What Podman answers becomes typed, frozen
values; what goes wrong becomes one of our errors, in `failures` and nowhere else.
"""

from stromboli.podman.transport import Podman

__all__ = ["Podman"]
