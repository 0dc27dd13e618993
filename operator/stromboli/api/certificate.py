"""The read API's certificate, stored in the operator's home so that it survives a restart.

The CA signs only this one certificate, and its key is then discarded; only the home's owner can read the server's key.
`issue` creates the certificate, in a process of its own.
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
LIFE = timedelta(days=3650)  # an operator may run for years without a restart
_LEFT = timedelta(days=365)  # minimum remaining validity at a start
_ALWAYS = ("127.0.0.1", "::1", "localhost")
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """`authority` (PEM) is the CA that clients have to trust; `chain` (PEM) has the server's key and certificate.

    It is valid for `hosts`, sorted, until `until` (ISO 8601, with a time zone).
    """

    authority: str
    chain: str
    hosts: list[str]
    until: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ensure(home: Path, host: str, now: datetime) -> Certificate:
    """The certificate for `host` and the loopback names; created if the home has no suitable one.

    Raises LocalFailure if none can be created. `now` must have a time zone.
    """
    hosts = sorted({host, *_ALWAYS})
    kept = _kept(home / FILE)
    if kept is not None and kept.hosts == hosts and datetime.fromisoformat(kept.until) - now > _LEFT:
        return kept
    created = _create(hosts)
    try:
        files.write_private(home / FILE, json.dumps(created.to_json()).encode("ascii"))
    except OSError as error:
        log.warning(
            "the read API's certificate cannot be stored; the next start creates another: %s: %s",
            home / FILE,
            error.strerror,
        )
    return created


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """The TLS context of the server's sockets."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    file = os.memfd_create("stromboli-api", os.MFD_CLOEXEC)  # OpenSSL loads keys from files only
    try:
        os.write(file, certificate.chain.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def _create(hosts: Iterable[str]) -> Certificate:
    command = [sys.executable, "-m", "stromboli.api.issue", *hosts]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return _read(bounds.json_document(done.stdout, bounds.DOCUMENT))
    except subprocess.CalledProcessError as e:
        said = (e.stderr.strip().splitlines() or [f"exit code {e.returncode}"])[-1]
        raise LocalFailure(f"the read API's certificate could not be created: {said}") from e
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as e:
        raise LocalFailure(f"the read API's certificate could not be created: {e}") from e


def _kept(path: Path) -> Certificate | None:
    """The stored certificate; None if there is none, or the file is invalid."""
    try:
        return _read(bounds.json_document(path.read_bytes(), bounds.DOCUMENT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is not a valid certificate (%s); a new one is created", path, error)
        return None


def _read(found: Mapping[str, Any]) -> Certificate:
    """The inverse of `to_json`. Raises ValueError, KeyError or TypeError if the document is invalid."""
    certificate = Certificate(found["authority"], found["chain"], list(found["hosts"]), found["until"])
    if not isinstance(certificate.authority, str) or not isinstance(certificate.chain, str):
        raise TypeError("its PEM is not a string")
    if datetime.fromisoformat(certificate.until).tzinfo is None:
        raise ValueError("its expiry has no time zone")
    try:
        server_context(certificate)
        ssl.create_default_context(cadata=certificate.authority)
    except ssl.SSLError as e:
        raise ValueError(e.reason) from e
    return certificate
