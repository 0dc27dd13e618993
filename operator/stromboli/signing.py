"""Creates X.509 certificates: a self-signed authority (CA), and leaf certificates signed by it. Stores nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey

_CLOCK_SKEW = timedelta(minutes=5)


def new_key() -> Key:
    """A new private key, on P-256, the curve that every TLS library supports."""
    return ec.generate_private_key(ec.SECP256R1())


def authority(common: str, key: Key, now: datetime, life: timedelta) -> x509.Certificate:
    """A self-signed CA certificate. `common` is the prefix of its common name; `now` must have a time zone."""
    # A unique name each time: error messages cannot distinguish two authorities of the same name.
    name = _name(f"{common} {secrets.token_hex(4)}")
    return (
        _builder(name, name, key, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def leaf(
    common: str,
    key: Key,
    issuer: tuple[x509.Certificate, Key],
    uses: Iterable[x509.ObjectIdentifier],
    hosts: Iterable[x509.GeneralName],
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """A certificate signed by `issuer`, for these extended key usages and hosts; `now` must have a time zone."""
    authority, signing_key = issuer
    return (
        _builder(_name(common), authority.subject, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
