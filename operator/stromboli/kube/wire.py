"""How the API server is reached: found as kubectl finds it (in-cluster, KUBECONFIG), by lightkube's reading of that."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import aiohttp
from lightkube import KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig

from stromboli import bounds, files
from stromboli.errors import InvalidSettings, OutOfBounds
from stromboli.httpclient import Http

SILENCE = 15.0  # seconds without a byte, or for a connection
KEPT = 16  # connections that are kept between calls: a new one costs a TLS handshake


def config() -> SingleConfig:
    """The cluster that kubectl would find, and who we are there.

    Raises InvalidSettings for a kubeconfig out of bounds, and what lightkube raises for one that is malformed.
    """
    check_kubeconfig(os.environ)
    found = KubeConfig.from_env().get()
    if found is None or found.user is None:
        raise InvalidSettings("names a file whose current context has no user; name one that has", "KUBECONFIG")
    return found


def http(config: SingleConfig) -> Http:
    """The calls to that cluster's API server, without credentials other than a client certificate."""
    assert config.user is not None, "`config` has checked that"
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    return Http(config.cluster.server, partial(aiohttp.TCPConnector, ssl=context), kept=KEPT, connect=SILENCE)


def check_kubeconfig(environ: Mapping[str, str]) -> None:
    """Measure the files that lightkube and kopf are about to read. Raises InvalidSettings for one that is out of
    bounds or not YAML.

    They report a missing file, or one of another shape, themselves.
    """
    default = str(Path(environ.get("HOME") or "/") / ".kube/config")
    for path in filter(None, (environ.get("KUBECONFIG") or default).split(os.pathsep)):
        try:
            measure_kubeconfig(Path(path))
        except OutOfBounds as e:
            raise InvalidSettings(f"names {path}, which {e}; name a kubeconfig file", "KUBECONFIG") from e
        except ValueError as e:
            raise InvalidSettings(f"names {path}, which is not YAML; name a kubeconfig file", "KUBECONFIG") from e


def measure_kubeconfig(path: Path) -> None:
    """Raises OutOfBounds, and ValueError if it is not YAML: what our parser cannot read, theirs might."""
    with contextlib.suppress(OSError):
        bounds.measure_yaml(files.beginning(path, bounds.DOCUMENT.size + 1), bounds.DOCUMENT)
