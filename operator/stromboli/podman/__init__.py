"""The only package that talks to Podman: asynchronously, over its REST socket. Nothing here knows Kubernetes.

One small module per kind of object (`containers`, `images`, `archive`, `execs`, `builds`, `events`, …), each with one
class; `Podman` in `transport` holds an instance of each. Podman's answers become typed, frozen values; its
failures become our own errors, in `failures` and nowhere else.
"""

from stromboli.podman.transport import Podman

__all__ = ["Podman"]
