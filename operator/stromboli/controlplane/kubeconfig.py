"""Writes kubeconfig files: one cluster, one user with a token, everything embedded."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from stromboli import files

_NAME = "stromboli"


def write(path: Path, server: str, authority: bytes, token: str, namespace: str = "default") -> None:
    """Write a kubeconfig with mode 0600. `server` is an https URL, `authority` the PEM certificate of its CA.

    A file with the same content is not rewritten. Raises OSError.
    """
    content = yaml.safe_dump(_document(server, authority, token, namespace), sort_keys=False).encode()
    if not path.is_file() or path.read_bytes() != content:
        files.write_private(path, content)


def _document(server: str, authority: bytes, token: str, namespace: str) -> dict[str, object]:
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    context = {"cluster": _NAME, "user": _NAME, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": context}],
        "current-context": _NAME,
    }
