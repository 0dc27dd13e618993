"""Creates a CA, or a certificate of one: `python -m stromboli.keys.sign`, asked and answering in JSON.

{}                                            {"certificate": PEM, "key": PEM}
{"authority", "common", "hosts", "client"}    {"chain": PEM, "since", "until"}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import bounds, signing
from stromboli.keys.certificates import AUTHORITY_LIFE, LEAF_LIFE


def authority(now: datetime) -> dict[str, str]:
    """A new CA; `now` must have a time zone."""
    key = signing.new_key()
    return {"certificate": _pem(signing.authority("stromboli read API", key, now, AUTHORITY_LIFE)), "key": _key(key)}


def leaf(asked: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """A certificate as it was asked for. A server's is no client's, so that no operator passes for the gateway."""
    certificate = x509.load_pem_x509_certificate(asked["authority"]["certificate"].encode())
    signing_key = serialization.load_pem_private_key(asked["authority"]["key"].encode(), password=None)
    if not isinstance(signing_key, ec.EllipticCurvePrivateKey) or signing_key.public_key() != certificate.public_key():
        raise ValueError("the CA's key does not belong to its certificate")
    if now + LEAF_LIFE > certificate.not_valid_after_utc:
        raise ValueError(f"the CA is valid until {certificate.not_valid_after_utc:%Y-%m-%d} only")
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if asked["client"] else ())]
    key = signing.new_key()
    hosts = [_host(name) for name in asked["hosts"]]
    signed = signing.leaf(asked["common"], key, (certificate, signing_key), uses, hosts, now, LEAF_LIFE)
    return {"chain": _key(key) + _pem(signed), "since": now.isoformat(), "until": (now + LEAF_LIFE).isoformat()}


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key(key: ec.EllipticCurvePrivateKey) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode("ascii")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


if __name__ == "__main__":
    asked = bounds.json_document(sys.stdin.read(), bounds.DOCUMENT)
    print(json.dumps(leaf(asked, datetime.now(UTC)) if asked else authority(datetime.now(UTC))))
