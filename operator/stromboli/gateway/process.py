"""The gateway as a process: its start, and its end by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web

from stromboli.errors import InvalidSettings
from stromboli.gateway import settings as configuration
from stromboli.gateway.http import http_api
from stromboli.gateway.onward import Onward
from stromboli.gateway.operators import Operators
from stromboli.gateway.server import Gateway
from stromboli.gateway.settings import Settings
from stromboli.gateway.upkeep import Upkeep
from stromboli.keys.certificates import Subject
from stromboli.keys.keyring import Keyring
from stromboli.kube.aggregation import Aggregation
from stromboli.kube.system import System
from stromboli.metrics.gateway import GatewayMetrics
from stromboli.naming import GATEWAY_SERVICE
from stromboli.stderrlog import log_to_stderr
from stromboli.tlslistener import Factory, Limits, Listener, bound

log = logging.getLogger(__name__)

# The API server keeps its connections for as long; others only ask for the gateway's health.
LIMITS = Limits(most=512, idle=90.0, strangers=128)
_HEADERS = 4096  # of a request: a user may be in many groups, each of which has one
_FILES = 4096
_LEAVE_OPEN = 1.0  # seconds for answers in progress to end after a signal


def run_gateway(config: Path | None) -> None:
    """Run the gateway until SIGTERM or SIGINT. Raises InvalidSettings."""
    settings = configuration.load(os.environ, config)
    log_to_stderr()
    for warning in settings.http.warnings:
        log.warning("%s", warning)
    _allow_files()
    asyncio.run(_run(settings))


def _allow_files() -> None:
    """Let the process have two sockets for each connection: the usual limit, 1,024 files, is just that."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < min(most, _FILES):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _FILES), most))


async def _run(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        cluster = Aggregation()
        stack.push_async_callback(cluster.close)
        system = System(cluster.plain, settings.namespace)
        hosts = (f"{GATEWAY_SERVICE}.{settings.namespace}.svc", "localhost", "127.0.0.1", "::1")
        upkeep = Upkeep(cluster, Keyring(system, Subject(GATEWAY_SERVICE, hosts, client=True)))
        onward = Onward(upkeep.client)
        stack.push_async_callback(onward.close)
        lookups = _Lookups(cluster, system)
        metrics = GatewayMetrics(version("stromboli-operator"))
        gateway = Gateway(upkeep, lookups, onward, version("stromboli-operator"), metrics)
        listener = Listener(upkeep.server, LIMITS)
        try:
            server = await stack.enter_async_context(bound(settings.host, settings.port))
        except OSError as e:
            raise InvalidSettings(
                f"cannot listen on {settings.host}:{settings.port} ({e.strerror}); choose another address",
                configuration.ADDRESS,
            ) from e
        runner = web.AppRunner(
            gateway.application(listener.middleware),
            access_log=None,
            handler_cancellation=True,  # a client that is gone ends what is read for it
            keepalive_timeout=LIMITS.idle,
            shutdown_timeout=_LEAVE_OPEN,
            max_headers=_HEADERS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None, "the runner was set up"
        parts = [_serve(upkeep, listener, server, runner.server)]
        if (address := settings.http.server.address) is not None:
            operators = Operators(lookups.operators, onward, lambda: upkeep.wrong)
            parts.append(await stack.enter_async_context(http_api(address, settings.http, operators, metrics)))
        await _until_stopped(_all(parts))


async def _serve(upkeep: Upkeep, listener: Listener, server: socket.socket, factory: Factory) -> None:
    """Serve for ever, once there is all that connections need; until then they wait in the kernel."""
    await upkeep.begin()
    async with listener.accepting(server, factory):
        log.info("listening on port %d", server.getsockname()[1])
        await upkeep.keep_up()


async def _all(parts: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; when one ends, or fails, the others end, too."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Work until SIGTERM or SIGINT. What the work raises is raised."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
    working.cancel()
    await asyncio.wait({working})


class _Lookups:
    """What a request needs to know of the cluster."""

    def __init__(self, cluster: Aggregation, system: System) -> None:
        self.located = cluster.located
        self._system = system

    async def operators(self) -> Mapping[str, str]:
        """The address of each node's operator."""
        return await self._system.operators() or {}
