"""The control plane's own certificate authorities, certificates, keys and administrator's token.

All are in one folder (0700, files 0600), created once and kept. A certificate that has expired or soon will, that does
not match its key, or that was signed by another CA is replaced, and so are the certificates that depend on it.

    ca                  signs the next two; kube-apiserver accepts no client certificates of it
    apiserver           the serving certificate of kube-apiserver
    etcd                the serving certificate of etcd, and kube-apiserver's client certificate for it: on a shared
                        machine an unauthenticated etcd on loopback would give every user the whole cluster
    client-ca           whoever shows kube-apiserver a certificate of it is the user that the certificate names
    front-proxy-ca      signs the next one and nothing else: a server behind an APIService lets the holder of a
                        certificate of it act for any user
    front-proxy-client  what kube-apiserver shows to such a server
    accounts.key        signs service account tokens
    tokens.csv          the administrator's token, in the group system:masters
"""

from __future__ import annotations

import csv
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from stromboli import files, signing

_AUTHORITY_LIFE = timedelta(days=3650)
_LIFE = timedelta(days=365)
RENEWAL = timedelta(days=30)  # a certificate is replaced this long before it expires
AUTHORITY, CLIENT_AUTHORITY, FRONT_PROXY_AUTHORITY = "ca", "client-ca", "front-proxy-ca"
APISERVER, ETCD, FRONT_PROXY = "apiserver", "etcd", "front-proxy-client"
_HOSTS = (x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost"))
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Certificates:
    """The paths of the files. Only the token is read here."""

    folder: Path

    def certificate(self, name: str) -> Path:
        """The PEM certificate of an authority, or of one of those that they sign."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The PEM key that belongs to the certificate `name`, or that of `accounts`."""
        return self.folder / f"{name}.key"

    @property
    def tokens(self) -> Path:
        """kube-apiserver's static token file: token, user, uid, groups."""
        return self.folder / "tokens.csv"

    @property
    def token(self) -> str:
        """The administrator's token."""
        with self.tokens.open(newline="") as file:
            return next(csv.reader(file))[0]


def ensure(folder: Path, now: datetime) -> Certificates:
    """Create what is missing or no longer valid at `now` (with a time zone), and keep the rest."""
    found = Certificates(files.private_folder(folder))
    authority = _ensure_authority(found, AUTHORITY, "stromboli local control plane", now)
    _ensure_leaf(found, APISERVER, authority, [_SERVER], now)
    _ensure_leaf(found, ETCD, authority, [_SERVER, _CLIENT], now)
    _ensure_authority(found, CLIENT_AUTHORITY, "stromboli local clients", now)
    front_proxy = _ensure_authority(found, FRONT_PROXY_AUTHORITY, "stromboli local front proxy", now)
    _ensure_leaf(found, FRONT_PROXY, front_proxy, [_CLIENT], now)
    if _read_key(found.key("accounts")) is None:
        files.write_private(found.key("accounts"), _pem(signing.new_key()))
    if not found.tokens.is_file():
        line = f'{secrets.token_urlsafe(_TOKEN_BYTES)},admin,admin,"system:masters"\n'
        files.write_private(found.tokens, line.encode())
    return found


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _ensure_authority(found: Certificates, name: str, common: str, now: datetime) -> _Pair:
    pair = _read(found, name)
    if pair and _lasts(pair, now):
        return pair
    key = signing.new_key()
    certificate = signing.authority(common, key, now, _AUTHORITY_LIFE)
    return _write(found, name, _Pair(certificate, key))


def _ensure_leaf(
    found: Certificates, name: str, authority: _Pair, uses: list[x509.ObjectIdentifier], now: datetime
) -> None:
    pair = _read(found, name)
    if pair and _lasts(pair, now) and _issued_by(pair, authority):
        return
    key = signing.new_key()
    certificate = signing.leaf(name, key, (authority.certificate, authority.key), uses, _HOSTS, now, _LIFE)
    _write(found, name, _Pair(certificate, key))


def _lasts(pair: _Pair, now: datetime) -> bool:
    certificate = pair.certificate
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEWAL


def _issued_by(pair: _Pair, authority: _Pair) -> bool:
    try:
        pair.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, InvalidSignature):
        return False
    return True


def _read(found: Certificates, name: str) -> _Pair | None:
    """The pair, or None if one of the two is missing, unreadable or does not belong to the other."""
    key = _read_key(found.key(name))
    if key is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate(name).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return _Pair(certificate, key) if certificate.public_key() == key.public_key() else None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _write(found: Certificates, name: str, pair: _Pair) -> _Pair:
    files.write_private(found.key(name), _pem(pair.key))
    files.write_private(found.certificate(name), pair.certificate.public_bytes(serialization.Encoding.PEM))
    return pair


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # SEC 1, not PKCS 8: kube-apiserver derives the public key from a private key file only in the former format.
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
