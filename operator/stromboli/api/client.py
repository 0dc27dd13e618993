"""A client of the read API for users with a kubeconfig. Every error is a LocalFailure that says what to do.

It is made of the standard library alone, since a command that only lists something should not take longer to load than
to answer.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from stromboli import bounds
from stromboli.api.address import Address
from stromboli.errors import LocalFailure
from stromboli.kube.bearer import NO_TOKEN, Token
from stromboli.naming import GROUP, VERSION

_CONNECT = 5.0
_SILENCE = 75.0  # seconds; the operator's own limit is a minute
_HINTS = {
    401: "use a kubeconfig of the operator's cluster; KUBECONFIG selects it",
    403: "ask whoever administers the cluster",
    503: "try again; `stromboli status` shows what is down",
}

Document = Mapping[str, Any]


class Declined(LocalFailure):
    """The operator declines; `reason` is what it is about, in the API's terms, or empty."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


def messages(address: Address, token: Token, namespace: str, session: str) -> Document:
    """A session's messages, as the server returns them (see `server`). Raises LocalFailure."""
    return _asked(address, token, f"{_in(namespace)}/agentsessions/{_segment(session)}/messages")


def images(
    address: Address, token: Token, namespace: str, everything: bool, report: Callable[[int, int], None]
) -> Document:
    """The node's images (see `images`); `report` is called with how many are inspected, of how many. Raises
    LocalFailure.
    """
    path = f"{_in(namespace)}/images{'?all=true' if everything else ''}"
    return _asked(address, token, path, report)


def image(address: Address, token: Token, namespace: str, reference: str) -> Document:
    """What is in an image (see `images`). Raises LocalFailure."""
    return _asked(address, token, f"{_in(namespace)}/images/inspect?{urlencode({'reference': reference})}")


def search(address: Address, token: Token, namespace: str, query: str, limit: int) -> Document:
    """What the registries have (see `images`). Raises LocalFailure."""
    return _asked(address, token, f"{_in(namespace)}/images/search?{urlencode({'query': query, 'limit': limit})}")


def _asked(
    address: Address, token: Token, path: str, report: Callable[[int, int], None] = lambda done, total: None
) -> Document:
    """The answer: the last line of it, if lines of progress precede it."""
    authorization = _authorization(token)
    with _failures(address), _connected(address) as connection:
        connection.request("GET", path, headers={"Authorization": authorization})
        response = connection.getresponse()
        size, answer = 0, None
        while line := response.readline(bounds.ANSWER.size + 1):
            size += len(line)
            if size > bounds.ANSWER.size:
                break
            answer = _document(line)
            if isinstance(progress := answer.get("progress"), dict):
                report(int(progress["done"]), int(progress["total"]))
                answer = None
        if answer is None:
            raise ValueError("the answer ends before its end")
    if response.status == 200 and "error" not in answer:
        return answer
    said = str(answer.get("error") or f"the operator answers {response.status}")
    status = 503 if response.status == 200 else response.status
    raise Declined(said, _HINTS.get(status, ""), str(answer.get("reason") or ""))


def _document(line: bytes) -> dict[str, Any]:
    answer = bounds.json_document(line, bounds.ANSWER)
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    return answer


@contextmanager
def _connected(address: Address) -> Iterator[http.client.HTTPSConnection]:
    """A connection to the server that has the address's certificate; no proxy, which would see the token."""
    where = urlsplit(address.url)
    context = ssl.create_default_context(cadata=address.authority)
    connection = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=_CONNECT, context=context)
    try:
        connection.connect()
        connection.sock.settimeout(_SILENCE)
        yield connection
    finally:
        connection.close()


@contextmanager
def _failures(address: Address) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as e:  # ssl.SSLError is an OSError
        raise LocalFailure(
            f"the operator does not respond at {address.url}: {e or type(e).__name__}",
            "`stromboli up` starts whatever is down",
        ) from e
    except (ValueError, LookupError, TypeError) as e:
        raise LocalFailure(f"the server at {address.url} is not an operator", "restart the operator") from e


def _authorization(token: Token) -> str:
    try:
        said = token()
    except NO_TOKEN as e:  # raised by the program that provides the token
        raise _no_token(str(e)) from e
    if not said.isascii() or not said.isprintable():
        raise _no_token("it cannot be sent in an HTTP header")
    return f"Bearer {said}"


def _no_token(why: str) -> LocalFailure:
    return LocalFailure(f"the kubeconfig gives no token: {why}", "set KUBECONFIG to a kubeconfig that has a token")


def _in(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{_segment(namespace)}"


def _segment(name: str) -> str:
    return quote(name, safe="") or "-"
