"""Requests become objects of the cluster, and objects of the cluster become answers. Pure."""
