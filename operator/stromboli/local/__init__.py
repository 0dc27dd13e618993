"""Sets up this machine: images without a registry, the local stack, and its progress display.

Everything here is for `stromboli up` and the demo. The operator itself never imports it: on a cluster there is
nothing to set up, and `podman/` talks to Podman over its REST socket.
"""
