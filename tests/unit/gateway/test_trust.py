"""Whom the gateway believes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.api.errors import Declined
from stromboli.gateway import trust

NAMED = {"subject": ((("organizationName", "x"),), (("commonName", "front-proxy-client"),))}
FORGED = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def proxy(names: list[str], headers: list[str] | None = None) -> trust.FrontProxy:
    data = {
        "requestheader-client-ca-file": pem("A"),
        "requestheader-allowed-names": json.dumps(names),
        "requestheader-username-headers": json.dumps(["X-Remote-User"] if headers is None else headers),
    }
    return trust.front_proxy({key: value.encode() for key, value in data.items()})


@pytest.mark.parametrize("certificate", [None, {}])
def test_whoever_shows_no_certificate_is_nobody(certificate: dict[str, Any] | None) -> None:
    for names in ([], ["front-proxy-client"]):
        with pytest.raises(Declined, match="needs the client certificate") as refused:
            trust.user(proxy(names), certificate, FORGED)
        assert refused.value.status == 401


@pytest.mark.parametrize(
    "subject",
    [
        ((("commonName", "somebody"),),),
        ((("organizationName", "front-proxy-client"),),),
        ((("commonName", "front-proxy-client.evil"),),),
        (),
    ],
)
def test_whoever_has_another_name_is_nobody(subject: Any) -> None:
    with pytest.raises(Declined, match="none of the names") as refused:
        trust.user(proxy(["front-proxy-client"]), {"subject": subject, "issuer": subject}, FORGED)
    assert refused.value.status == 401


def test_without_names_any_certificate_of_the_ca_is_the_front_proxys() -> None:
    certificate = {"subject": ((("commonName", "somebody"),),)}
    assert trust.user(proxy([]), certificate, {"X-Remote-User": "ada"}) == "ada"


def test_the_user_is_in_the_first_of_the_headers_that_has_one() -> None:
    known = proxy(["other", "front-proxy-client"], ["X-User", "X-Remote-User"])
    assert trust.user(known, NAMED, {"X-Remote-User": "ada"}) == "ada"
    assert trust.user(known, NAMED, {"X-Remote-User": "ada", "X-User": "bob"}) == "bob"


@pytest.mark.parametrize("headers", [["X-Remote-User"], []])
def test_a_request_for_no_user_is_not_served(headers: list[str]) -> None:
    with pytest.raises(Declined, match="names no user") as refused:
        trust.user(proxy([], headers), NAMED, {"X-Remote-User": "", "X-Remote-Group": "system:masters"})
    assert refused.value.status == 401


def test_a_cluster_without_a_front_proxy_has_no_ca() -> None:
    assert trust.front_proxy({}) == trust.FrontProxy("", frozenset(), ())


@pytest.mark.parametrize("value", [b"front-proxy-client", b'"front-proxy-client"', b"[1]", b"{}"])
def test_names_that_cannot_be_read_are_not_taken_for_none(value: bytes) -> None:
    """None at all would allow every name."""
    with pytest.raises(ValueError, match=r"not a list of names|Expecting value"):
        trust.front_proxy({"requestheader-allowed-names": value})


def test_a_connection_is_trusted_for_as_long_as_all_that_it_was_trusted_by() -> None:
    a, both = pem("A"), pem("A") + "\n# new\n" + pem("B")
    assert trust.covers(a, a)
    assert trust.covers(a, both), "a CA was added"
    assert not trust.covers(both, a), "one was taken away"
    assert not trust.covers(a, pem("B"))
    assert trust.covers("", a), "without a CA nobody's certificate was verified"


def test_a_bundle_may_have_comments() -> None:
    one, two = (f"-----BEGIN CERTIFICATE-----\n{n}\n-----END CERTIFICATE-----" for n in "ab")
    bundle = f"# Autorité de certification\n{one}\n\n# other\n{two}\n".encode()
    found = trust.front_proxy({"requestheader-client-ca-file": bundle})
    assert found.authorities == f"{one}\n{two}"
    with pytest.raises(ValueError, match="no PEM certificate"):
        trust.front_proxy({"requestheader-client-ca-file": b"-----BEGIN CERTIFICATE-----"})
