"""TLS contexts of the two ends. Each is made anew for other keys, so that what was trusted before no longer is."""

from __future__ import annotations

import ssl

from stromboli import files
from stromboli.keys.certificates import Leaf


def server(leaf: Leaf, clients: str, *, required: bool) -> ssl.SSLContext:
    """For a server, whose clients' certificates are of the CAs `clients` (PEM, empty for none).

    A client may come without one, unless it is `required`; one of another CA is never accepted. Raises ValueError for
    PEM that is not valid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _own(context, leaf)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        _trust(context, clients)
    return context


def client(leaf: Leaf, authority: str) -> ssl.SSLContext:
    """For a client of servers with certificates of that CA; it shows its own. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _own(context, leaf)
    _trust(context, authority)
    return context


def _trust(context: ssl.SSLContext, authorities: str) -> None:
    try:
        context.load_verify_locations(cadata=authorities)
    except ssl.SSLError as e:
        raise ValueError(f"this is no PEM certificate ({e.reason})") from e


def _own(context: ssl.SSLContext, leaf: Leaf) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with files.in_memory(leaf.chain.encode("ascii")) as path:
        context.load_cert_chain(path)
