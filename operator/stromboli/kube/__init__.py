"""The API server: every read beyond kopf's watches, and every write. Nothing here knows Podman."""
