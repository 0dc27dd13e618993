"""The bearer token of a kubeconfig, for a server that authenticates its users by the cluster's tokens.

A token in the kubeconfig, or in a file, is read here. For everything else lightkube is loaded, which takes longer than
a short command may.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stromboli import bounds, files
from stromboli.errors import LocalFailure

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig
    from lightkube.config.models import UserExec

Token = Callable[[], str]
# What getting the token can raise if it comes from a file or from a program.
NO_TOKEN = (OSError, ValueError, LookupError, TypeError, RecursionError)
_HOW = "`kubectl create token ACCOUNT` creates one, and `kubectl config set-credentials NAME --token=…` stores it"
_OTHER_FILE = "set KUBECONFIG to the kubeconfig of the operator's cluster"


def bearer(kubeconfig: Path) -> tuple[Token, str]:
    """What reads the token of the current context's user, and that context's namespace. Raises LocalFailure.

    Reading it raises one of NO_TOKEN.
    """
    return _plain(kubeconfig) or _by_lightkube(kubeconfig)


def _plain(kubeconfig: Path) -> tuple[Token, str] | None:
    """For a user with a token or a token's file; None for any other, and for a file in which something is wrong."""
    try:
        content = files.beginning(kubeconfig, bounds.DOCUMENT.size + 1)
        document = bounds.yaml_document(content, bounds.DOCUMENT)
        context = _by_name(document["contexts"])[document["current-context"]]["context"]
        _by_name(document["clusters"])[context["cluster"]]
        user = _by_name(document["users"])[context["user"]]["user"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    namespace = context.get("namespace") or "default"
    found, fixed = user.get("tokenFile"), user.get("token")
    if not all(value is None or isinstance(value, str) for value in (found, fixed, namespace)):
        return None
    if found is not None:
        return _of_file(kubeconfig.parent / found), namespace
    return None if fixed is None else ((lambda: fixed), namespace)


def _by_name(entries: list[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def _of_file(path: Path) -> Token:
    return lambda: path.read_text().strip()


def _by_lightkube(kubeconfig: Path) -> tuple[Token, str]:
    context = _context(kubeconfig)
    user = context.user
    if user is not None and user.token_file is not None:
        return _of_file(Path(os.fspath(context.abs_file(user.token_file)))), context.namespace
    if user is not None and (fixed := user.token) is not None:
        return (lambda: fixed), context.namespace
    if user is not None and user.exec is not None:
        return _of_program(user.exec), context.namespace
    raise LocalFailure(
        f"{kubeconfig}: the user of the context {context.context_name} has no token, and the operator "
        "authenticates users only by their tokens",
        _HOW,
    )


def _of_program(program: UserExec) -> Token:
    import httpx2
    from lightkube.config.client_adapter import ExecAuth
    from lightkube.core.exceptions import ConfigError

    def token() -> str:
        try:
            request = next(ExecAuth(program).sync_auth_flow(httpx2.Request("GET", "https://operator")))
        except ConfigError as e:
            raise ValueError(str(e)) from e
        return str(request.headers["Authorization"]).removeprefix("Bearer ")

    return token


def _context(kubeconfig: Path) -> SingleConfig:
    from lightkube import KubeConfig
    from lightkube.core.exceptions import ConfigError

    from stromboli.kube.wire import measure_kubeconfig

    try:
        measure_kubeconfig(kubeconfig)
        found = KubeConfig.from_file(kubeconfig).get()
        assert found is not None, "only a `get` with a default returns None"
        return found
    except (ConfigError, OSError) as e:
        raise LocalFailure(f"{kubeconfig} does not lead to a cluster: {e}", _OTHER_FILE) from e
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:  # lightkube trusts its shape
        raise LocalFailure(f"{kubeconfig} is not a valid kubeconfig", _OTHER_FILE) from e
