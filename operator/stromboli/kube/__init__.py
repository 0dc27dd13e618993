"""The cluster's side: what kopf's watches do not bring and every write. Knows nothing of Podman."""
