"""Creates the read API's certificate and prints it as JSON: `python -m stromboli.api.issue HOST…`.

This is a separate program because the operator needs the `cryptography` library for nothing else, and the library would
take a tenth of the operator's memory for as long as it runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import signing
from stromboli.api.certificate import LIFE, Certificate


def make(hosts: Iterable[str], now: datetime) -> Certificate:
    """A new certificate for these hosts (names or addresses); `now` must have a time zone."""
    names = sorted(set(hosts))
    authority_key, key = signing.new_key(), signing.new_key()
    authority = signing.authority("stromboli read API", authority_key, now, LIFE)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH]
    issuer = (authority, authority_key)
    signed = signing.leaf("stromboli-operator", key, issuer, uses, map(_host, names), now, LIFE)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(_pem(authority), private.decode("ascii") + _pem(signed), names, (now + LIFE).isoformat())


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


if __name__ == "__main__":
    print(json.dumps(make(sys.argv[1:], datetime.now(UTC)).to_json()))
