"""Mounts the CLI's image when the operator starts, pulling it if necessary, before the first run needs it.

As long as there is no image, the operator keeps running, and runs wait as CLIImageUnavailable.
"""

from __future__ import annotations

import asyncio
import logging

from stromboli.errors import CLIUnavailable, Refused, StromboliError
from stromboli.kube.client import Cluster
from stromboli.models.agentpolicy import PullSecretRef
from stromboli.node.cli import CLIMounts
from stromboli.observe.policy import base, parse
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.plan import policy as policies
from stromboli.plan.policy import CLI
from stromboli.settings import Settings

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two checks while it is missing


class CLIWarmUp:
    """Mounts the CLI before a run needs it."""

    def __init__(self, cluster: Cluster, settings: Settings, mounts: CLIMounts, secrets: PullSecrets) -> None:
        self._cluster = cluster
        self._secrets = secrets
        self._settings = settings
        self._mounts = mounts
        self.missing: str | None = "the Claude CLI's image: not looked for yet"  # what is still missing, as a sentence

    async def keep_trying(self) -> None:
        """Retry until every CLI that a policy names is mounted. Logs the progress of pulls."""
        said = ""
        while (missing := await self._attempt()) is not None:
            self.missing = missing
            if missing != said:
                log.warning("%s", missing)
            said = missing
            await asyncio.sleep(EVERY)
        self.missing = None
        log.info("the Claude CLI is ready")

    async def _attempt(self) -> str | None:
        """What is still missing, as a sentence; None when nothing is."""
        try:
            for source, secrets in (await self._sources()).items():
                await self._mounts.ready(source, "", self._secrets.tenant("", None, secrets))
        except CLIUnavailable as problem:
            return str(problem)
        except StromboliError as problem:
            return f"the Claude CLI's image: {problem}"
        return None

    async def _sources(self) -> dict[CLI, tuple[PullSecretRef, ...]]:
        """The CLI of every policy that names one, and otherwise that of the operator's settings; each with the Secrets
        for pulling it.
        """
        settings = base(self._settings)
        found: dict[CLI, tuple[PullSecretRef, ...]] = {}
        everywhere: tuple[PullSecretRef, ...] = ()
        for read in await self._cluster.policies():
            try:
                policy = parse(read)
            except Refused:
                log.warning("AgentPolicy %s is invalid and stops every run", read.name)
                continue
            own = policies.pull_secrets([policy])
            everywhere += own
            if policy.spec.cli is not None:
                source = policies.combine([policy], settings).cli
                found[source] = (*found.get(source, ()), *own)
        return found or {policies.combine([], settings).cli: everywhere}
