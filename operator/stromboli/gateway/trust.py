"""Whom the gateway trusts: the API server's front proxy, and nobody else. Pure.

The front proxy has authenticated and authorized a user before it passes a request on, and names them in headers, which
anybody could write. So what counts is its client certificate: of the CA, and with one of the names, that the API server
publishes in kube-system/extension-apiserver-authentication. TLS has checked the CA when these functions are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import bounds
from stromboli.api.errors import Declined

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ALONE = "the gateway serves only the API server's front proxy; ask the API server itself for this path"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How it is recognized: the CAs of its certificate (PEM, empty for none), its common names (none: any), and the
    headers in which it may name a user.
    """

    authorities: str
    names: frozenset[str]
    headers: tuple[str, ...]


def front_proxy(data: Mapping[str, bytes]) -> FrontProxy:
    """What the ConfigMap says. Raises ValueError for another form."""
    return FrontProxy(
        _certificates(data.get("requestheader-client-ca-file", b"")),
        frozenset(_names(data, "requestheader-allowed-names")),
        tuple(_names(data, "requestheader-username-headers")),
    )


def _certificates(bundle: bytes) -> str:
    """The certificates of a bundle, without the comments that may stand between them, in any characters."""
    found = _PEM.findall(bundle.decode("utf-8", "replace"))
    if bundle.strip() and not found:
        raise ValueError("requestheader-client-ca-file has no PEM certificate")
    return "\n".join(found)


def _names(data: Mapping[str, bytes], key: str) -> list[str]:
    found = bounds.json_document(data.get(key) or b"[]", bounds.DOCUMENT)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} is not a list of names")
    return found


def user(proxy: FrontProxy, certificate: Mapping[str, Any] | None, headers: Mapping[str, str]) -> str:
    """The user on whose behalf the front proxy asks. Raises Declined (401) if it is not the front proxy that asks.

    `certificate` is the client's, as the module ssl describes it: none, or empty, unless TLS has verified it.
    """
    if not certificate:
        raise Declined(401, f"this needs the client certificate of the API server's front proxy: {_ALONE}")
    if proxy.names and not (_common_names(certificate) & proxy.names):
        raise Declined(401, f"the client certificate has none of the names that the API server allows: {_ALONE}")
    named = next((value for header in proxy.headers if (value := headers.get(header))), None)
    if named is None:
        raise Declined(401, f"the front proxy names no user in {' or '.join(proxy.headers) or 'any header'}")
    return named


def covers(known: str, now: str) -> bool:
    """Whether every CA of `known` is trusted now, so that a connection that was accepted by them still is."""
    return set(_PEM.findall(known)) <= set(_PEM.findall(now))


def _common_names(certificate: Mapping[str, Any]) -> set[str]:
    subject = certificate.get("subject") or ()
    return {value for part in subject for name, value in part if name == "commonName"}
