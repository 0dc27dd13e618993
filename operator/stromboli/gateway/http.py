"""The HTTP API as a part of the gateway's process."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from stromboli.errors import InvalidSettings, LocalFailure
from stromboli.gateway.operators import Operators
from stromboli.httpapi import server
from stromboli.httpapi.app import application
from stromboli.httpapi.caller import Access
from stromboli.httpapi.health import Health
from stromboli.httpsettings import HttpSettings
from stromboli.kube import kubeconfig
from stromboli.kube.caller import Callers
from stromboli.metrics.gateway import GatewayMetrics

log = logging.getLogger(__name__)


@asynccontextmanager
async def http_api(
    address: tuple[str, int], settings: HttpSettings, operators: Operators, metrics: GatewayMetrics
) -> AsyncIterator[Coroutine[Any, Any, None]]:
    """It listens; the coroutine serves it for ever. Raises InvalidSettings."""
    try:
        local = None if settings.local_kubeconfig is None else kubeconfig.read([settings.local_kubeconfig])
        callers = Callers(kubeconfig.find(os.environ), local)
    except LocalFailure as e:
        raise InvalidSettings(e.message, "KUBECONFIG") from e
    access = Access(callers, local.namespace if local is not None else "default")
    health = Health({"kubernetes": callers.problem, "operator": operators.problem})
    app = application(settings, access, version("stromboli-operator"), health, metrics)
    sock = server.listening(*address)
    try:
        log.info("the HTTP API is at port %d", sock.getsockname()[1])
        yield server.serve(app, sock)
    finally:
        sock.close()
        await callers.close()
