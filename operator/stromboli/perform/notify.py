"""Kubernetes events, posted in the background: a run never waits for one, and a lost one is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stromboli.errors import StromboliError
from stromboli.event_reasons import EventReason
from stromboli.kube.client import Cluster
from stromboli.models.image import AgentImage
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.reasons import ConditionReason
from stromboli.status.events import event
from stromboli.supervision import spawn

log = logging.getLogger(__name__)

CLOSING = 3.0  # seconds that pending events get when the operator ends


class Notifier:
    """Posts events in the background."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tasks: set[asyncio.Task[None]] = set()
        self._warned: set[str] = set()

    def emit(self, obj: Run | Session | AgentImage, reason: EventReason, message: str, *, key: str = "") -> None:
        """Post an event about an object. Emitted twice for one attempt, or with the same `key`, it is one object."""
        self._start(obj, reason, message, _key(obj, key), reason.warning)

    def emit_reason(
        self, obj: Run | Session | AgentImage, reason: ConditionReason, message: str, *, warning: bool, key: str = ""
    ) -> None:
        """Post an event that announces the new reason of the object's main condition, as `emit` does."""
        self._start(obj, reason, message, _key(obj, key), warning)

    def _start(
        self,
        obj: Run | Session | AgentImage,
        reason: EventReason | ConditionReason,
        message: str,
        key: str,
        warning: bool,
    ) -> None:
        body = event(obj, reason, message, now=datetime.now(UTC), key=key, warning=warning)
        task = spawn(self._post(reason, body), f"event {reason}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def warn_of_no_allowlist(self, obj: Run | Session) -> None:
        """Warn, once per namespace, that nothing restricts which images run there."""
        namespace = obj.namespace
        if namespace in self._warned:
            return
        self._warned.add(namespace)
        message = (
            f"no policy restricts the images of namespace {namespace}: every image may run; "
            "set images.allowed in an AgentPolicy"
        )
        reason = EventReason.NoAllowlist
        self._start(obj, reason, message, f"namespace/{namespace}", reason.warning)

    def forget_all_but(self, namespaces: set[str]) -> None:
        """Forget the warnings of namespaces that no longer have runs."""
        self._warned &= namespaces

    async def close(self) -> None:
        """Wait briefly for pending events."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING)
        for task in self._tasks:
            task.cancel()

    async def _post(self, reason: str, body: Mapping[str, Any]) -> None:
        try:
            await self._cluster.post_event(body)
        except StromboliError as error:
            log.warning("an event was lost: %s: %s", reason, error)


def _key(obj: Run | Session | AgentImage, key: str) -> str:
    """What an event's name is made of beside its reason: the object and, of a run, the number of its attempts."""
    number = len(obj.status.attempts) if isinstance(obj, Run) else 0
    return f"{obj.uid}/{key or number}"
