"""The URL of a receiver of notifications: absolute, http or https, in ASCII, without user info and fragment. Pure.

RFC 3986, of which the rest is opaque here: path and query are sent as they are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from stromboli.errors import InvalidInput

MAX_URL = 2048
_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
# \x27 is an apostrophe, which would end a string of CEL.
_REST = r"[/?][A-Za-z0-9._~:/?\[\]@!$&\x27()*,+;=%-]*"
SCHEME_RE2 = "^https?://"
USER_RE2 = "^[^/]*//[^/?#]*@"
URL_RE2 = rf"^(https?)://({_HOST})(:[0-9]{{1,5}})?({_REST})?$"
SCHEME_MEANT = "does not begin with https:// or http://; write an absolute URL such as https://example.com/hooks/runs"
USER_MEANT = (
    "has a user name or a password in it, which everybody who may read the run could see; take it out, and sign the "
    "notification with secretKeyRef"
)
URL_MEANT = (
    "is not the URL of a receiver: write https://HOST[:PORT]/PATH in ASCII, with any other character percent-encoded, "
    "and without a fragment (#)"
)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a URL leads. `host` is in lower case and, if it is an IPv6 address, without its brackets."""

    scheme: str
    host: str
    port: int

    @property
    def shown(self) -> str:
        """The URL without its path and query, which may have a token in them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def parse(text: str) -> Receiver:
    """Where the URL leads. Raises InvalidInput."""
    if not re.search(SCHEME_RE2, text):
        raise InvalidInput(SCHEME_MEANT)
    if re.search(USER_RE2, text):
        raise InvalidInput(USER_MEANT)
    found = re.fullmatch(URL_RE2, text)
    if found is None or len(text) > MAX_URL:
        raise InvalidInput(URL_MEANT)
    scheme, host = found[1], found[2].strip("[]").lower()
    port = int(found[3][1:]) if found[3] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise InvalidInput(f"has the port {port}; a port is 1 to 65535")
    bracketed = found[2].startswith("[")
    if (bracketed or re.fullmatch("[0-9.]+", host)) and not _is_address(host, 6 if bracketed else 4):
        raise InvalidInput(f"has the host {found[2]}, which is not an address; write all of it, such as 192.0.2.1")
    return Receiver(scheme, host, port)


def _is_address(host: str, version: int) -> bool:
    try:
        return ip_address(host).version == version
    except ValueError:
        return False
