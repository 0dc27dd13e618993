"""Setting up this machine: images without a registry, the local stack, and what people see while it happens.

Everything here is for `stromboli up` and the demo. The operator itself never imports it: on a cluster there is
nothing to set up, and Podman is spoken to by `podman/` over its REST socket.
"""
