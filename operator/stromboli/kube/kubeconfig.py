"""A user's kubeconfig, read as kubectl reads it: which cluster, as whom, in which namespace.

lightkube's reading, which the operator uses, knows neither proxies nor names for TLS nor several files, and takes
longer to load than a short command takes to answer. Credentials are only found here; credentials of programs and files
are read in login.py.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stromboli import bounds, files
from stromboli.errors import LocalFailure

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOW = "set KUBECONFIG to the kubeconfig of a cluster, or `stromboli up` creates a local one"
_OTHER = "correct it, or set KUBECONFIG to another kubeconfig"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that prints credentials (an exec plugin)."""

    command: tuple[str, ...]
    api_version: str
    env: Mapping[str, str]
    interactive: str  # Never, IfAvailable or Always
    gets_cluster: bool
    hint: str  # how to install it


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """A cluster, a user there and a namespace. Certificates and keys are in PEM; what is not given is empty."""

    origin: str  # what it was read from, for messages
    server: str
    namespace: str = "default"
    context: str = ""
    # The cluster
    authority: bytes = b""
    insecure: bool = False
    server_name: str = ""  # of its certificate, if it is not the host's
    proxy: str = ""
    # The user
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: Path | None = None
    username: str = ""
    password: str = ""
    program: Program | None = None
    as_whom: Sequence[tuple[str, str]] = field(default=())  # headers, for a user who acts as another one


def find(
    environ: Mapping[str, str],
    *,
    path: Path | None = None,
    context: str = "",
    local: Callable[[], Path | None] = lambda: None,
    account: Path = SERVICE_ACCOUNT,
) -> Place:
    """The file `path`; else those that KUBECONFIG names; else ~/.kube/config; else that of the `local` installation;
    else, inside a Pod, its service account. Raises LocalFailure.
    """
    if path is not None:
        return read([path], context)
    if named := [Path(each).expanduser() for each in environ.get("KUBECONFIG", "").split(os.pathsep) if each]:
        return read(named, context)
    if (usual := Path(environ.get("HOME") or "/") / ".kube/config").is_file():
        return read([usual], context)
    if (found := local()) is not None:
        return read([found], context)
    if (account / "token").is_file() and environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(environ, account)
    raise LocalFailure("no kubeconfig says which cluster to use", _HOW)


def read(paths: Sequence[Path], context: str = "") -> Place:
    """A context of one or more files, the current one by default. Of what two files define, the first counts, and a
    file that is missing among several is passed over. Raises LocalFailure.
    """
    origin = os.pathsep.join(map(str, paths))
    found = _Merged()
    for path in paths:
        if len(paths) == 1 or path.exists():
            found.add(path)
    name = context or found.current
    if not name:
        raise LocalFailure(f"{origin} names no current context", "`kubectl config use-context NAME` sets it")
    try:
        return found.place(name, origin)
    except _Wrong as e:
        raise LocalFailure(f"{origin}: {e}", _OTHER) from e


class _Wrong(ValueError):
    """A value is missing or of another form; `str()` of it says which."""


class _Merged:
    """The entries of all files by name, each with the folder that its relative paths start from."""

    def __init__(self) -> None:
        self.current = ""
        self._kept: dict[str, dict[str, tuple[Object, Path]]] = {"clusters": {}, "users": {}, "contexts": {}}

    def add(self, path: Path) -> None:
        document = _document(path)
        current = document.get("current-context")
        self.current = self.current or (current if isinstance(current, str) else "")
        for kind, kept in self._kept.items():
            for name, entry in _entries(document.get(kind), kind.removesuffix("s")):
                kept.setdefault(name, (entry, path.absolute().parent))

    def place(self, context: str, origin: str) -> Place:
        about, _ = self._entry("contexts", context, "no context")
        cluster, from_cluster = self._entry("clusters", _text(about, "cluster"), f"the context {context}: no cluster")
        user, from_user = ({}, Path()) if not (name := _text(about, "user")) else self._entry("users", name, "no user")
        if not (server := _text(cluster, "server")):
            raise _Wrong(f"the cluster of the context {context} has no server")
        if user.get("auth-provider"):
            raise _Wrong("auth-provider is not supported; use a program (exec), a token or a certificate")
        token_file = _text(user, "tokenFile")
        return Place(
            origin=origin,
            server=server if "://" in server else f"https://{server}",
            namespace=_text(about, "namespace") or "default",
            context=context,
            authority=_pem(cluster, "certificate-authority", from_cluster),
            insecure=cluster.get("insecure-skip-tls-verify") is True,
            server_name=_text(cluster, "tls-server-name"),
            proxy=_text(cluster, "proxy-url"),
            certificate=_pem(user, "client-certificate", from_user),
            key=_pem(user, "client-key", from_user),
            token=_text(user, "token"),
            token_file=from_user / token_file if token_file else None,
            username=_text(user, "username"),
            password=_text(user, "password"),
            program=_program(user["exec"], from_user) if user.get("exec") else None,
            as_whom=tuple(_as_whom(user)),
        )

    def _entry(self, kind: str, name: str, missing: str) -> tuple[Object, Path]:
        if name not in self._kept[kind]:
            raise _Wrong(f"{missing} {name!r}" if name else f"{missing} is named")
        return self._kept[kind][name]


def _document(path: Path) -> Object:
    try:
        document = bounds.yaml_document(files.beginning(path, bounds.DOCUMENT.size + 1), bounds.DOCUMENT)
    except OSError as e:
        raise LocalFailure(f"{path} cannot be read: {e.strerror}", _HOW) from e
    except ValueError as e:
        raise LocalFailure(f"{path} is not a valid kubeconfig: {e}", _OTHER) from e
    if not isinstance(document, dict):
        raise LocalFailure(f"{path} is not a valid kubeconfig", _OTHER)
    return document


def _entries(listed: Any, key: str) -> Iterator[tuple[str, Object]]:
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(name := entry.get("name"), str):
            inner = entry.get(key)
            yield name, inner if isinstance(inner, dict) else {}


def _text(entry: Object, key: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise _Wrong(f"{key} is not a string")
    return value or ""


def _pem(entry: Object, key: str, folder: Path) -> bytes:
    """The value of `KEY-data`, or of the file that KEY names."""
    if data := _text(entry, f"{key}-data"):
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except ValueError as e:
            raise _Wrong(f"{key}-data is not base64") from e
    if not (name := _text(entry, key)):
        return b""
    try:
        return files.beginning(folder / name, bounds.DOCUMENT.size)
    except (OSError, ValueError) as e:
        raise _Wrong(f"{key}: {folder / name} cannot be read: {getattr(e, 'strerror', None) or e}") from e


def _program(entry: Any, folder: Path) -> Program:
    if not isinstance(entry, dict) or not (command := _text(entry, "command")):
        raise _Wrong("exec has no command")
    if "/" in command:
        command = str(folder / command)
    arguments, variables = entry.get("args") or [], entry.get("env") or []
    if not isinstance(arguments, list) or not isinstance(variables, list):
        raise _Wrong("args and env of exec are lists")
    return Program(
        command=(command, *map(str, arguments)),
        api_version=_text(entry, "apiVersion"),
        env={str(each["name"]): str(each.get("value", "")) for each in variables if _is_named(each)},
        interactive=_text(entry, "interactiveMode") or "IfAvailable",
        gets_cluster=entry.get("provideClusterInfo") is True,
        hint=_text(entry, "installHint"),
    )


def _is_named(entry: Any) -> bool:
    return isinstance(entry, dict) and "name" in entry


def _as_whom(user: Object) -> Iterator[tuple[str, str]]:
    from urllib.parse import quote

    if name := _text(user, "as"):
        yield "Impersonate-User", name
    if uid := _text(user, "as-uid"):
        yield "Impersonate-Uid", uid
    groups = user.get("as-groups")
    for group in groups if isinstance(groups, list) else ():
        yield "Impersonate-Group", str(group)
    extra = user.get("as-user-extra")
    for key, values in (extra if isinstance(extra, dict) else {}).items():
        for value in values if isinstance(values, list) else ():
            yield f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)


def _in_cluster(environ: Mapping[str, str], account: Path) -> Place:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT") or "443"
    try:
        authority = (account / "ca.crt").read_bytes()
        namespace = (account / "namespace").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as e:
        raise LocalFailure(f"the Pod's service account cannot be read: {e}", _HOW) from e
    return Place(
        origin="the Pod's service account",
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace or "default",
        authority=authority,
        token_file=account / "token",
    )
