"""Mounts the CLI's image when the operator starts, pulling it if necessary, before the first run needs it.

As long as there is no image, the operator keeps running, and runs wait as CLIImageUnavailable.
"""

from __future__ import annotations

import asyncio
import logging

from stromboli.errors import CLIUnavailable, Refused, StromboliError
from stromboli.kube.client import Cluster
from stromboli.node.cli import CLIMounts
from stromboli.observe.policy import base, parse
from stromboli.plan import policy as policies
from stromboli.plan.policy import CLI
from stromboli.settings import Settings

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two checks while it is missing


class CLIWarmUp:
    """Mounts the CLI before a run needs it."""

    def __init__(self, cluster: Cluster, settings: Settings, mounts: CLIMounts) -> None:
        self._cluster = cluster
        self._settings = settings
        self._mounts = mounts

    async def keep_trying(self) -> None:
        """Retry until every CLI that a policy names is mounted. Logs the progress of pulls."""
        said = ""
        while (missing := await self._attempt()) is not None:
            if missing != said:
                log.warning("%s", missing)
            said = missing
            await asyncio.sleep(EVERY)
        log.info("the Claude CLI is ready")

    async def _attempt(self) -> str | None:
        """What is still missing, as a sentence; None when nothing is."""
        try:
            for source in await self._sources():
                await self._mounts.ready(source, "")
        except CLIUnavailable as problem:
            return str(problem)
        except StromboliError as problem:
            return f"the Claude CLI's image: {problem}"
        return None

    async def _sources(self) -> set[CLI]:
        """The CLI of every policy that names one, and otherwise that of the operator's settings."""
        settings = base(self._settings)
        found = set()
        for read in await self._cluster.policies():
            try:
                policy = parse(read)
            except Refused:
                log.warning("AgentPolicy %s is invalid and stops every run", read.name)
                continue
            if policy.spec.cli is not None:
                found.add(policies.combine([policy], settings).cli)
        return found or {policies.combine([], settings).cli}
