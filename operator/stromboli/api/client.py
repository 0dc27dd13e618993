"""Asking the read API, as a person with a kubeconfig. Every error is a LocalFailure that says what to do."""

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

_TIMEOUT = httpx.Timeout(75.0, connect=5.0)  # the operator gives itself a minute
_HINTS = {
    401: "use a kubeconfig of that operator's cluster: KUBECONFIG names it",
    403: "ask whoever administers the cluster",
    503: "try again; `stromboli status` shows what is down",
}


def messages(address: Address, auth: httpx.Auth, namespace: str, session: str) -> Mapping[str, Any]:
    """A session's messages, as the server tells them. Raises LocalFailure."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{_segment(namespace)}/agentsessions/{_segment(session)}/messages"
    return _asked(address, auth, path)


def _asked(address: Address, auth: httpx.Auth, path: str) -> Mapping[str, Any]:
    try:
        context = ssl.create_default_context(cadata=address.authority)
        # No proxy of the environment's: it is another who would see the token.
        with httpx.Client(base_url=address.url, verify=context, trust_env=False, timeout=_TIMEOUT) as client:
            response = client.get(path, auth=auth)
    except httpx.LocalProtocolError as e:  # whose text has the token in it
        raise _no_token("it is not one that can be sent") from e
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as e:
        raise LocalFailure(
            f"the operator does not answer at {address.url}: {e}", "`stromboli up` starts what is down"
        ) from e
    except NO_TOKEN as e:  # of a program that is to give it
        raise _no_token(str(e)) from e
    try:
        answer = bounds.json_document(response.content, bounds.ANSWER)
    except ValueError as e:
        raise LocalFailure(f"what answers at {address.url} is no operator", "start the operator anew") from e
    if response.status_code == 200 and isinstance(answer, dict):
        return answer
    said = answer.get("error") if isinstance(answer, dict) else None
    raise LocalFailure(
        str(said or f"the operator answers {response.status_code}"), _HINTS.get(response.status_code, "")
    )


def _no_token(why: str) -> LocalFailure:
    return LocalFailure(f"the kubeconfig gives no token: {why}", "KUBECONFIG names another; one with a token works")


def _segment(name: str) -> str:
    return quote(name, safe="") or "-"
