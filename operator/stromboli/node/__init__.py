"""What is kept alive on the node: pulls, mounts, containers that end or rest, networks, removals."""
