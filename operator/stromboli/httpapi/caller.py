"""On whose behalf a call acts, and in which namespace.

A bearer token is one of Kubernetes, and goes to the API server with everything that the call needs: it authenticates
and authorizes. On a local installation, a call without a token acts as the local user, if a program of this user (or
root's) has made it on this machine, and no web page can have: another site's page can neither be told from the local
one by its address, nor does it need to read the answer of what it starts.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from stromboli import bounds
from stromboli.errors import OutOfBounds
from stromboli.httpapi import peer
from stromboli.httpapi.errors import Refusal
from stromboli.kube import caller as kube
from stromboli.naming import is_namespace

NAMESPACE = "X-Stromboli-Namespace"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}")  # RFC 6750, section 2.1, and what opaque ones may have
_NO_TOKEN = "send one of Kubernetes in the header `Authorization: Bearer TOKEN`, such as `kubectl create token` prints"
# By one of these, a proxy says that it passes on a call, which may be anybody's.
_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: their access to the API server, and the namespace that is meant."""

    cluster: kube.Caller
    namespace: str


@dataclass(frozen=True, slots=True)
class Access:
    """What the application knows of the cluster: how its API server is reached, and what a call without a namespace
    means.
    """

    callers: kube.Callers
    local_namespace: str = "default"


def caller_of(request: Request) -> Caller:
    """For `Depends`: who calls. Raises Refusal (400, 401, 403)."""
    access: Access = request.app.state.access
    header = request.headers.get("authorization", "")
    if header:
        token = _token(header)
        return Caller(access.callers.with_token(token), _namespace(request) or _own_namespace(token))
    local = access.callers.local
    if local is None:
        raise Refusal(401, f"the call has no token; {_NO_TOKEN}", headers={"WWW-Authenticate": "Bearer"})
    check_local(request)
    return Caller(local, _namespace(request) or access.local_namespace)


CallerOf = Annotated[Caller, Depends(caller_of)]


def check_local(request: Request) -> None:
    """Raises Refusal unless the call can only have been made by a program of the local user, and not by a web page."""
    client, server = request.client, request.scope.get("server")
    if client is None or server is None or not _is_loopback(client.host):
        raise Refusal(401, f"only this machine's own calls need no token; {_NO_TOKEN}")
    if any(name in request.headers for name in _PASSED_ON):
        raise Refusal(401, f"what a proxy passes on needs a token; {_NO_TOKEN}")
    if peer.owner((client.host, client.port), (server[0], server[1])) not in (os.getuid(), 0):
        raise Refusal(401, f"only calls by the user of this installation need no token; {_NO_TOKEN}")
    host = request.headers.get("host", "")
    if not _is_loopback(_hostname(host)):
        raise Refusal(403, f"the Host {host[:100]!r} is not this machine's: call localhost, or send a token")
    if "origin" in request.headers:
        raise Refusal(403, "a web page may not call without a token; send one, or no header `Origin`")
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refusal(403, "another site's page may not call without a token; the header `Sec-Fetch-Site` says so")


def _token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
        raise Refusal(401, f"the header `Authorization` has no bearer token; {_NO_TOKEN}")
    return token


def _namespace(request: Request) -> str:
    given = request.headers.get(NAMESPACE, "")
    if given and not is_namespace(given):
        raise Refusal(400, f"the header `{NAMESPACE}` is not the name of a namespace", details={"field": NAMESPACE})
    return given


def _own_namespace(token: str) -> str:
    """The namespace of the service account that a token is of; that of others is `default`. It is not verified here:
    the API server judges what the token may do in it.
    """
    try:
        claims = token.split(".")[1]
        found = bounds.json_document(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)), bounds.DOCUMENT)
        name = found["kubernetes.io"]["namespace"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error, OutOfBounds):
        return "default"
    return name if isinstance(name, str) and is_namespace(name) else "default"


def _hostname(host: str) -> str:
    """The name or address in a `Host` header (RFC 9110, 7.2), without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and ":" in host else host


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)
