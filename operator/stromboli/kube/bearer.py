"""The bearer token of a kubeconfig, for a server that authenticates its users by the cluster's tokens."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
from lightkube import KubeConfig
from lightkube.config.client_adapter import BearerAuth, BearerTokenFileAuth, ExecAuth
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError
from yaml import YAMLError

from stromboli.errors import LocalFailure
from stromboli.kube.wire import measure_kubeconfig

# What getting the token can raise if it comes from a file or from an exec plugin.
NO_TOKEN = (ConfigError, OSError, ValueError, LookupError, TypeError, RecursionError)
_HOW = "`kubectl create token ACCOUNT` creates one, and `kubectl config set-credentials NAME --token=…` stores it"
_OTHER_FILE = "set KUBECONFIG to the kubeconfig of the operator's cluster"


def bearer(kubeconfig: Path) -> tuple[httpx2.Auth, str]:
    """Authentication by the token of the current context's user, and that context's namespace. Raises LocalFailure."""
    context = _context(kubeconfig)
    user = context.user
    if user is not None and user.token_file is not None:
        return BearerTokenFileAuth(os.fspath(context.abs_file(user.token_file))), context.namespace
    if user is not None and user.token is not None:
        return BearerAuth(user.token), context.namespace
    if user is not None and user.exec is not None:
        return ExecAuth(user.exec), context.namespace
    raise LocalFailure(
        f"{kubeconfig}: the user of the context {context.context_name} has no token, and the operator "
        "authenticates users only by their tokens",
        _HOW,
    )


def _context(kubeconfig: Path) -> SingleConfig:
    try:
        measure_kubeconfig(kubeconfig)
        found = KubeConfig.from_file(kubeconfig).get()
        assert found is not None, "only a `get` with a default returns None"
        return found
    except (ConfigError, OSError) as e:
        raise LocalFailure(f"{kubeconfig} does not lead to a cluster: {e}", _OTHER_FILE) from e
    except (YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:  # lightkube trusts its shape
        raise LocalFailure(f"{kubeconfig} is not a valid kubeconfig", _OTHER_FILE) from e
