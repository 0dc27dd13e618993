"""Certificates and keys: private, kept, renewed in time, and good for a TLS handshake."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stromboli.controlplane import certificates
from stromboli.controlplane.certificates import Certificates

NOW = datetime.now(UTC)


def content(found: Certificates) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in found.folder.iterdir()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return certificates.ensure(tmp_path / "pki", NOW)


def test_everything_is_private(made: Certificates) -> None:
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.folder.iterdir()} == {0o600}
    assert len(made.token) >= 40
    assert made.tokens.read_text() == f'{made.token},admin,admin,"system:masters"\n'


def test_kept_as_long_as_they_are_good(made: Certificates) -> None:
    before = content(made)
    certificates.ensure(made.folder, NOW + timedelta(days=300))
    assert content(made) == before


def test_renewed_before_they_run_out(made: Certificates) -> None:
    before = content(made)
    later = NOW + timedelta(days=340)
    certificates.ensure(made.folder, later)
    leaves = ("apiserver", "etcd", "front-proxy-client")
    assert changed(before, content(made)) == {f"{name}.{kind}" for name in leaves for kind in ("crt", "key")}
    renewed = x509.load_pem_x509_certificate(made.certificate("apiserver").read_bytes())
    assert renewed.not_valid_after_utc > later + timedelta(days=300)


def test_a_new_authority_signs_all_anew(made: Certificates) -> None:
    before = content(made)
    certificates.ensure(made.folder, NOW + timedelta(days=3640))
    assert changed(before, content(made)) == before.keys() - {"tokens.csv", "accounts.key"}


@pytest.mark.parametrize("clock", [-timedelta(days=1), -timedelta(days=4000)])
def test_made_in_what_the_clock_now_calls_the_future(made: Certificates, clock: timedelta) -> None:
    before = content(made)
    certificates.ensure(made.folder, NOW + clock)
    assert "ca.crt" in changed(before, content(made))


@pytest.mark.parametrize(
    ("spoilt", "renewed"),
    [
        ("apiserver.key", {"apiserver.crt", "apiserver.key"}),
        ("etcd.crt", {"etcd.crt", "etcd.key"}),
        ("accounts.key", {"accounts.key"}),
        ("ca.key", {"ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "etcd.crt", "etcd.key"}),
        ("client-ca.crt", {"client-ca.crt", "client-ca.key"}),
        (
            "front-proxy-ca.crt",
            {"front-proxy-ca.crt", "front-proxy-ca.key", "front-proxy-client.crt", "front-proxy-client.key"},
        ),
    ],
)
@pytest.mark.parametrize("how", ["missing", "rubbish"])
def test_what_is_spoilt_is_made_anew(made: Certificates, spoilt: str, renewed: set[str], how: str) -> None:
    before = content(made)
    if how == "missing":
        (made.folder / spoilt).unlink()
    else:
        (made.folder / spoilt).write_bytes(b"rubbish")
    certificates.ensure(made.folder, NOW)
    assert changed(before, content(made)) == renewed


def test_a_key_that_belongs_to_another_certificate(made: Certificates) -> None:
    made.key("etcd").write_bytes(made.key("apiserver").read_bytes())
    before = content(made)
    certificates.ensure(made.folder, NOW)
    assert changed(before, content(made)) == {"etcd.crt", "etcd.key"}


def test_one_of_an_older_version_gets_what_is_new(made: Certificates) -> None:
    before = content(made)
    new = {path for path in made.folder.iterdir() if path.name.startswith(("client-ca", "front-proxy"))}
    assert len(new) == 6
    for path in new:
        path.unlink()
    certificates.ensure(made.folder, NOW)
    assert changed(before, content(made)) == {path.name for path in new}


def test_each_authority_signs_its_own_alone(made: Certificates) -> None:
    """Whoever holds a certificate of the front proxy's may say which user it acts for."""
    issued = {
        name: x509.load_pem_x509_certificate(made.certificate(name).read_bytes())
        for name in ("ca", "client-ca", "front-proxy-ca", "apiserver", "etcd", "front-proxy-client")
    }
    issuers = {name: certificate.issuer for name, certificate in issued.items()}
    assert issuers["front-proxy-client"] == issued["front-proxy-ca"].subject
    assert issuers["apiserver"] == issuers["etcd"] == issued["ca"].subject
    assert len({issued[name].subject for name in ("ca", "client-ca", "front-proxy-ca")}) == 3
    subject = issued["front-proxy-client"].subject.rfc4514_string()
    assert subject == "CN=front-proxy-client", "the only name that servers behind an APIService allow"


def test_two_make_different_secrets(made: Certificates, tmp_path: Path) -> None:
    other = certificates.ensure(tmp_path / "other", NOW)
    assert not set(content(made).values()) & set(content(other).values())


def test_accounts_key_is_of_the_form_that_kube_apiserver_reads(made: Certificates) -> None:
    pem = made.key("accounts").read_bytes()
    assert pem.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert load_pem_private_key(pem, password=None).key_size == 256  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_handshake_where_both_sides_verify(made: Certificates, name: str) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.certificate("ca")))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(made.certificate("apiserver"), made.key("apiserver"))
    client = ssl.create_default_context(cafile=str(made.certificate("ca")))
    client.load_cert_chain(made.certificate("etcd"), made.key("etcd"))
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert _shake_hands(server, client, name) == "TLSv1.3"


def test_a_serving_certificate_is_no_clients(made: Certificates) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.certificate("ca")))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(made.certificate("etcd"), made.key("etcd"))
    client = ssl.create_default_context(cafile=str(made.certificate("ca")))
    client.load_cert_chain(made.certificate("apiserver"), made.key("apiserver"))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)purpose"):
        _shake_hands(server, client, "localhost")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """A TLS handshake in memory; the protocol that came of it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (ours, theirs):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    return theirs.version()
