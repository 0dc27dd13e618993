"""The ClusterRoles for people, as every cluster with Stromboli has them, so that the guides' commands work here, too.

The roles of operator and gateway are not needed: they use the administrator's kubeconfig.
"""

from __future__ import annotations

from typing import Any

from stromboli import bounds
from stromboli.local import checkout

NAMES = ("stromboli-user", "stromboli-viewer", "stromboli-secret-keeper")


def objects() -> list[dict[str, Any]]:
    """Those of manifests/rbac.yaml. Raises LocalFailure."""
    manifest = (checkout.folder("manifests") / "rbac.yaml").read_bytes()
    documents = bounds.yaml_documents(manifest, bounds.DOCUMENT)
    return [each for each in documents if each["kind"] == "ClusterRole" and each["metadata"]["name"] in NAMES]
