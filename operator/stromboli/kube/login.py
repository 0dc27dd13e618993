"""What a person's calls to the API server carry: the headers of a kubeconfig's user, and the TLS context.

Credentials of a program or a file change from time to time: they are read when first used, and again once the API
server has refused them. It is synchronous, unlike credentials.py, the operator's, and lets a program ask its questions
on the terminal.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stromboli import bounds, files
from stromboli.errors import LocalFailure
from stromboli.kube.kubeconfig import Place, Program

_GROUP = "client.authentication.k8s.io/"
_VERSIONS = ("v1", "v1beta1")
_MODES = ("Never", "IfAvailable", "Always")
QUIET_PROGRAM = 3.0  # seconds for a program that may ask nothing


@dataclass(frozen=True, slots=True, repr=False)
class _Given:
    """Credentials, in the forms that can be sent: a header's value, a certificate and its key."""

    header: str = ""
    certificate: bytes = b""
    key: bytes = b""


class Login:
    """The credentials of one user for one cluster. `quiet`: a program gets no terminal and little time."""

    def __init__(self, place: Place, *, quiet: bool = False) -> None:
        self._place = place
        self._quiet = quiet
        self._given: _Given | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def can_change(self) -> bool:
        """Whether other credentials may be accepted after a refusal."""
        place = self._place
        return place.token_file is not None or (place.program is not None and not place.token)

    def renew(self) -> None:
        """Read the credentials again at their next use: the last ones were refused."""
        self._given = self._context = None

    def headers(self) -> list[tuple[str, str]]:
        """Raises LocalFailure."""
        header = self._current().header
        return [*([("Authorization", header)] if header else []), *self._place.as_whom]

    def context(self) -> ssl.SSLContext:
        """Trusts what the kubeconfig says, and has the user's certificate. Raises LocalFailure."""
        if self._context is None:
            self._context = self._tls()
        return self._context

    def _current(self) -> _Given:
        if self._given is None:
            self._given = self._read()
            if not self._given.header.isascii() or not self._given.header.isprintable():
                raise _no_credentials(self._place, "the token cannot be sent in an HTTP header")
        return self._given

    def _read(self) -> _Given:
        """In the order of kubectl, by which a token in the kubeconfig precedes a program."""
        place = self._place
        certificate = (place.certificate, place.key)
        if place.token_file is not None:
            try:
                token = files.beginning(place.token_file, bounds.DOCUMENT.size).decode("utf-8").strip()
                return _Given(f"Bearer {token}", *certificate)
            except (OSError, ValueError) as e:
                raise _no_credentials(place, f"the token's file cannot be read: {e}") from e
        if place.token:
            return _Given(f"Bearer {place.token}", *certificate)
        if place.username or place.password:
            pair = base64.b64encode(f"{place.username}:{place.password}".encode()).decode()
            return _Given(f"Basic {pair}", *certificate)
        if place.program is not None:
            return _of_program(place, place.program, quiet=self._quiet)
        return _Given("", *certificate)

    def _tls(self) -> ssl.SSLContext:
        given, context = self._current(), trusting(self._place)
        if given.certificate:
            with _certificates(self._place), files.in_memory(given.certificate + b"\n" + given.key) as path:
                context.load_cert_chain(path)
        return context


def trusting(place: Place) -> ssl.SSLContext:
    """Trusts what the kubeconfig says, and has no certificate. Raises LocalFailure."""
    with _certificates(place):
        context = ssl.create_default_context(cadata=place.authority.decode("ascii") if place.authority else None)
    if place.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _certificates(place: Place) -> Iterator[None]:
    """What cannot be read or used inside the block is a LocalFailure."""
    try:
        yield
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        raise LocalFailure(
            f"{place.origin}: a certificate or key of the context {place.context} cannot be used: {e}",
            "correct it, or set KUBECONFIG to another kubeconfig",
        ) from e


def _of_program(place: Place, program: Program, *, quiet: bool) -> _Given:
    version = program.api_version.removeprefix(_GROUP)
    if version not in _VERSIONS or not program.api_version.startswith(_GROUP):
        wanted = " or ".join(f"{_GROUP}{each}" for each in _VERSIONS)
        raise _no_credentials(place, f"its apiVersion {program.api_version!r} is not supported; {wanted} is")
    printed = _output(place, program, quiet=quiet)
    try:
        status = bounds.json_document(printed, bounds.DOCUMENT)["status"]
        token = status.get("token") or ""
        certificate, key = (status.get(name) or "" for name in ("clientCertificateData", "clientKeyData"))
        if not all(isinstance(value, str) for value in (token, certificate, key)) or not (token or certificate):
            raise ValueError("neither a token nor a certificate")
        return _Given(f"Bearer {token}" if token else "", certificate.encode(), key.encode())
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise _no_credentials(place, f"{program.command[0]} printed no credentials: {e}") from e


def _output(place: Place, program: Program, *, quiet: bool) -> bytes:
    command = program.command[0]
    interactive = program.interactive in _MODES[1:] and not quiet and sys.stdin is not None and sys.stdin.isatty()
    if program.interactive == "Always" and not interactive:
        raise _no_credentials(place, f"{command} needs a terminal to ask on")
    try:
        done = subprocess.run(
            program.command,
            env={**os.environ, **program.env, "KUBERNETES_EXEC_INFO": json.dumps(_about(place, program, interactive))},
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,  # it may say there where to log in
            timeout=QUIET_PROGRAM if quiet else None,
            check=False,
        )
    except FileNotFoundError as e:
        raise _no_credentials(place, f"the program {command} is not installed", program.hint) from e
    except (OSError, ValueError, subprocess.TimeoutExpired) as e:
        raise _no_credentials(place, str(e)) from e
    if done.returncode:
        raise _no_credentials(place, f"{command} ended with {done.returncode}")
    return done.stdout


def _about(place: Place, program: Program, interactive: bool) -> Mapping[str, Any]:
    """What the program is told: the API's ExecCredential."""
    spec: dict[str, Any] = {"interactive": interactive}
    if program.gets_cluster:
        cluster = {
            "server": place.server,
            "tls-server-name": place.server_name,
            "insecure-skip-tls-verify": place.insecure,
            "certificate-authority-data": base64.b64encode(place.authority).decode(),
            "proxy-url": place.proxy,
        }
        spec["cluster"] = {name: value for name, value in cluster.items() if value}
    return {"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec}


def _no_credentials(place: Place, why: str, hint: str = "") -> LocalFailure:
    return LocalFailure(
        f"the user of the context {place.context} in {place.origin} has no credentials: {why}",
        hint or "log in again, or set KUBECONFIG to a kubeconfig that the cluster accepts",
    )
