"""People who use a test's control plane: kubeconfigs with a client certificate, and with a ServiceAccount's token."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stromboli import signing
from stromboli.controlplane import certificates
from stromboli.controlplane.certificates import Certificates
from stromboli.controlplane.cluster import Cluster
from tests.support.cluster import Kubectl

_LIFE = timedelta(hours=12)


def client_certificate(
    folder: Path, authority: str, user: str, groups: Iterable[str] = (), life: timedelta = _LIFE
) -> tuple[bytes, bytes]:
    """A certificate and its key (PEM) for `user`, signed by the authority of that name in a control plane's `pki`."""
    pki = Certificates(folder)
    issuer = x509.load_pem_x509_certificate(pki.certificate(authority).read_bytes())
    signer = serialization.load_pem_private_key(pki.key(authority).read_bytes(), password=None)
    key, now = signing.new_key(), datetime.now(UTC)
    names = [*((NameOID.ORGANIZATION_NAME, group) for group in groups), (NameOID.COMMON_NAME, user)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in names]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + life)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # authorities have keys on P-256
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def certificate_user(
    cluster: Cluster, path: Path, user: str, groups: Iterable[str] = (), namespace: str = "default"
) -> Path:
    """A kubeconfig at `path` for a user who logs in with a client certificate, as kubeadm's administrators do."""
    pki = cluster.kubeconfig.parent / "pki"
    certificate, key = client_certificate(pki, certificates.CLIENT_AUTHORITY, user, groups)
    login = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    return _written(cluster, path, login, namespace)


def service_account(kubectl: Kubectl, cluster: Cluster, path: Path, name: str, namespace: str) -> Path:
    """A kubeconfig at `path` with a token of the ServiceAccount `name`, which is created in `namespace`."""
    kubectl("-n", namespace, "create", "serviceaccount", name)
    token = kubectl("-n", namespace, "create", "token", name, "--duration=1h").strip()
    return _written(cluster, path, {"token": token}, namespace)


def may(kubectl: Kubectl, namespace: str, who: Mapping[str, str], *rules: tuple[str, str, str]) -> None:
    """Let `who` (a subject of RBAC: kind, name …) do what `rules` say in `namespace`: verbs, API group, resources,
    the first and the last separated by commas.
    """
    name = f"may-{who['name']}"
    meta = {"name": name, "namespace": namespace}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [{"verbs": v.split(","), "apiGroups": [g], "resources": r.split(",")} for v, g, r in rules],
    }
    subject = dict(who) if who["kind"] == "ServiceAccount" else {"apiGroup": "rbac.authorization.k8s.io", **who}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding]}))


def _written(cluster: Cluster, path: Path, login: Mapping[str, Any], namespace: str) -> Path:
    config = yaml.safe_load(cluster.kubeconfig.read_bytes())
    config["users"][0]["user"] = dict(login)
    config["contexts"][0]["context"]["namespace"] = namespace
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path
