"""Dockerfiles of services that are built: which images a build can reach, and the file with those pinned. Pure."""
