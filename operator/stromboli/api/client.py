"""A client of the read API for users with a kubeconfig. Every error is a LocalFailure that says what to do."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from stromboli import bounds
from stromboli.api.address import Address
from stromboli.errors import LocalFailure
from stromboli.kube.bearer import NO_TOKEN
from stromboli.naming import GROUP, VERSION

_TIMEOUT = httpx.Timeout(75.0, connect=5.0)  # the operator's own limit is a minute
_HINTS = {
    401: "use a kubeconfig of the operator's cluster; KUBECONFIG selects it",
    403: "ask whoever administers the cluster",
    503: "try again; `stromboli status` shows what is down",
}


def messages(address: Address, auth: httpx.Auth, namespace: str, session: str) -> Mapping[str, Any]:
    """A session's messages, as the server returns them (see `server`). Raises LocalFailure."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{_segment(namespace)}/agentsessions/{_segment(session)}/messages"
    return _asked(address, auth, path)


def _asked(address: Address, auth: httpx.Auth, path: str) -> Mapping[str, Any]:
    try:
        context = ssl.create_default_context(cadata=address.authority)
        # No proxy from the environment: a proxy would see the token.
        with httpx.Client(base_url=address.url, verify=context, trust_env=False, timeout=_TIMEOUT) as client:
            response = client.get(path, auth=auth)
    except httpx.LocalProtocolError as e:  # its text contains the token
        raise _no_token("it cannot be sent in an HTTP header") from e
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as e:
        raise LocalFailure(
            f"the operator does not respond at {address.url}: {e}", "`stromboli up` starts whatever is down"
        ) from e
    except NO_TOKEN as e:  # raised by the program that provides the token
        raise _no_token(str(e)) from e
    try:
        answer = bounds.json_document(response.content, bounds.ANSWER)
    except ValueError as e:
        raise LocalFailure(f"the server at {address.url} is not an operator", "restart the operator") from e
    if response.status_code == 200 and isinstance(answer, dict):
        return answer
    said = answer.get("error") if isinstance(answer, dict) else None
    raise LocalFailure(
        str(said or f"the operator answers {response.status_code}"), _HINTS.get(response.status_code, "")
    )


def _no_token(why: str) -> LocalFailure:
    return LocalFailure(f"the kubeconfig gives no token: {why}", "set KUBECONFIG to a kubeconfig that has a token")


def _segment(name: str) -> str:
    return quote(name, safe="") or "-"
