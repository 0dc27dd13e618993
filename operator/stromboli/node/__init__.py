"""What the operator manages on the node: pulls, mounts, session containers, networks, cleanup and the start gate."""
