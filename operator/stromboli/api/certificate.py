"""The read API's certificate, made anew at each start: whoever asks has its authority from `api.json`.

The authority signs this one certificate and its key is forgotten; the server's key stays in memory.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import signing

_LIFE = timedelta(days=3650)  # an operator may go on for long
_ALWAYS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Certificate:
    """All PEM. `authority` is what a client has to trust; `chain` has the key and the certificate."""

    authority: str
    chain: bytes


def make(names: Iterable[str], now: datetime) -> Certificate:
    """A certificate for these hosts (names or addresses) and for this machine by its own; `now` has a time zone."""
    authority_key, key = signing.new_key(), signing.new_key()
    authority = signing.authority("stromboli read API", authority_key, now, _LIFE)
    hosts = [_host(name) for name in sorted({*names, *_ALWAYS})]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = signing.leaf("stromboli-operator", key, (authority, authority_key), uses, hosts, now, _LIFE)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(_pem(authority).decode("ascii"), private + _pem(certificate))


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """What the server's sockets speak TLS with."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    file = os.memfd_create("stromboli-api", os.MFD_CLOEXEC)  # OpenSSL reads keys from files only
    try:
        os.write(file, certificate.chain)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
