"""What the gateway knows of the cluster, read again at intervals: its keys, the front proxy, and the APIService's CA.

What was known stays valid while the API server cannot be asked: whoever asks the gateway comes by the API server.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Protocol
from weakref import WeakKeyDictionary

from stromboli.backoff import backoff
from stromboli.errors import ClusterUnavailable, Conflict, Rejected
from stromboli.gateway.trust import FrontProxy, covers, front_proxy
from stromboli.keys import contexts
from stromboli.keys.certificates import Leaf
from stromboli.keys.keyring import Keyring
from stromboli.naming import API_SERVICE

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds; a change of the front proxy's CA is known that soon
STUCK = 120.0  # seconds without an attempt, after which something is wrong with this process


class Cluster(Protocol):
    """The part of `kube.aggregation.Aggregation` that is used here."""

    async def front_proxy(self) -> Mapping[str, bytes]:
        """The ConfigMap about the front proxy."""

    async def api_service_authority(self) -> str | None:
        """The CA in the APIService."""

    async def set_api_service_authority(self, authority: str) -> None:
        """Set it."""


class Upkeep:
    """Keeps up. `server` and `client` are the TLS contexts for new connections, once `known`."""

    def __init__(self, cluster: Cluster, keyring: Keyring) -> None:
        self._cluster = cluster
        self._keyring = keyring
        self._proxy: FrontProxy | None = None
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None
        self._leaf: Leaf | None = None  # that of the contexts
        self._accepted: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
        self._wrong = "it has not asked the API server yet"
        self._tried = time.monotonic()

    @property
    def proxy(self) -> FrontProxy:
        """The front proxy."""
        assert self._proxy is not None, "nothing is served before it is known"
        return self._proxy

    def server(self) -> ssl.SSLContext:
        """The context for a connection from the API server."""
        assert self._server is not None, "nothing is served before it is known"
        return self._server

    def still_trusts(self, context: ssl.SSLContext) -> bool:
        """Whether the CAs by which a connection with that context was accepted are still those of the front proxy."""
        return covers(self._accepted.get(context, ""), self.proxy.authorities)

    def client(self) -> ssl.SSLContext:
        """The context for a connection to an operator."""
        assert self._client is not None, "nothing is served before it is known"
        return self._client

    @property
    def wrong(self) -> str:
        """What keeps the gateway from serving; empty if nothing does."""
        if self._proxy is not None and not self._proxy.authorities:
            return "the API server has no front proxy: it needs --requestheader-client-ca-file and what belongs to that"
        return "" if self._proxy is not None else self._wrong

    @property
    def is_stuck(self) -> bool:
        """Whether the attempts have ended, which only a restart changes."""
        return time.monotonic() - self._tried > STUCK

    async def begin(self) -> None:
        """Return once there is all that connections need."""
        failures = 0
        while not await self.attempt():
            failures += 1
            await asyncio.sleep(backoff(failures))

    async def keep_up(self) -> None:
        """Go on for ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self.attempt()

    async def attempt(self) -> bool:
        """Read all of it once. Whether there is what connections need, be it from before."""
        self._tried = time.monotonic()
        try:
            async with asyncio.timeout(STUCK / 2):
                await self._refresh()
        except (ClusterUnavailable, Conflict, Rejected, TimeoutError, ValueError) as error:
            said = str(error) or "the API server takes too long"
            if said != self._wrong:
                log.warning("waiting for the API server: %s", said)
            self._wrong = said
            return self._proxy is not None
        if self._wrong:
            log.info("up to date with the API server")
        self._wrong = ""
        return True

    async def _refresh(self) -> None:
        unusable: ClusterUnavailable | Conflict | Rejected | None = None
        try:
            await self._keyring.refresh()
        except (ClusterUnavailable, Conflict, Rejected) as error:
            if self._leaf is None:
                raise
            unusable = error  # the keys from before serve on; whom to trust must be known nevertheless
        renewed = self._leaf is not self._keyring.leaf
        proxy = front_proxy(await self._cluster.front_proxy())
        if renewed:
            self._client = contexts.client(self._keyring.leaf, self._keyring.authority)
        if renewed or self._proxy is None or proxy.authorities != self._proxy.authorities:
            self._server = contexts.server(self._keyring.leaf, proxy.authorities, required=False)
            self._accepted[self._server] = proxy.authorities
        self._leaf, self._proxy = self._keyring.leaf, proxy
        await self._register()
        if unusable is not None:
            raise unusable

    async def _register(self) -> None:
        """Let the APIService have our CA. Whoever creates it later is served at the next turn."""
        found = await self._cluster.api_service_authority()
        if found is not None and found != self._keyring.authority:
            await self._cluster.set_api_service_authority(self._keyring.authority)
            log.info("wrote the CA of the gateway's certificate into the APIService %s", API_SERVICE)
