"""Compose stacks on this node: their containers, networks and volumes; looking after services; removal."""
