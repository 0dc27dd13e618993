"""The read API's certificate, kept in the operator's home: a restart is known by the same one.

The authority signs this one certificate and its key is forgotten; the server's key can be read by the home's owner
alone. Making one is `issue`'s.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stromboli import bounds, files
from stromboli.errors import LocalFailure

log = logging.getLogger(__name__)

FILE = "api-certificate.json"
LIFE = timedelta(days=3650)  # an operator may go on for long
_LEFT = timedelta(days=365)  # so long does one have to hold at a start
_ALWAYS = ("127.0.0.1", "::1", "localhost")
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """`authority` (PEM) is what a client has to trust; `chain` (PEM) has the key and the certificate.

    It is for `hosts`, sorted, and holds until `until` (ISO 8601).
    """

    authority: str
    chain: str
    hosts: list[str]
    until: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def have(home: Path, host: str, now: datetime) -> Certificate:
    """The certificate for `host` and for this machine by its own names; made if the home has none that will do.

    Raises LocalFailure where none can be made. `now` has a time zone.
    """
    hosts = sorted({host, *_ALWAYS})
    kept = _kept(home / FILE)
    if kept is not None and kept.hosts == hosts and datetime.fromisoformat(kept.until) - now > _LEFT:
        return kept
    made = _made(hosts)
    try:
        files.write_private(home / FILE, json.dumps(made.to_json()).encode("ascii"))
    except OSError as error:
        log.warning("the read API's next start has another certificate: %s: %s", home / FILE, error.strerror)
    return made


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """What the server's sockets speak TLS with."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    file = os.memfd_create("stromboli-api", os.MFD_CLOEXEC)  # OpenSSL reads keys from files only
    try:
        os.write(file, certificate.chain.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def _made(hosts: Iterable[str]) -> Certificate:
    command = [sys.executable, "-m", "stromboli.api.issue", *hosts]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return _read(bounds.json_document(done.stdout, bounds.DOCUMENT))
    except subprocess.CalledProcessError as e:
        said = (e.stderr.strip().splitlines() or [f"exit code {e.returncode}"])[-1]
        raise LocalFailure(f"the read API's certificate could not be made: {said}") from e
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as e:
        raise LocalFailure(f"the read API's certificate could not be made: {e}") from e


def _kept(path: Path) -> Certificate | None:
    """The one in the home; None where there is none, or what is there is not one."""
    try:
        return _read(bounds.json_document(path.read_bytes(), bounds.DOCUMENT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is no certificate (%s); another is made", path, error)
        return None


def _read(found: Mapping[str, Any]) -> Certificate:
    """Raises ValueError, KeyError or TypeError where it is not what `to_json` gives."""
    certificate = Certificate(found["authority"], found["chain"], list(found["hosts"]), found["until"])
    if not isinstance(certificate.authority, str) or not isinstance(certificate.chain, str):
        raise TypeError("its PEM is no text")
    if datetime.fromisoformat(certificate.until).tzinfo is None:
        raise ValueError("its end has no time zone")
    try:
        server_context(certificate)
        ssl.create_default_context(cadata=certificate.authority)
    except ssl.SSLError as e:
        raise ValueError(e.reason) from e
    return certificate
