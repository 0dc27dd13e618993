"""Reports the ends of runs to the receivers that they name, until each has accepted or a day is over.

What has become of a notification is in the run's status, and nowhere else: an operator that starts anew finds in its
first list of the runs which are due. What is in memory is when to look at which run (due.py), and what could not be
written yet. An operator that is killed between a request and the write of its result sends the request again, with the
same identifier.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from stromboli.errors import ClusterUnavailable, NotDelivered, Refused, Rejected
from stromboli.event_reasons import EventReason
from stromboli.grammar import receiver
from stromboli.kube.client import Cluster
from stromboli.models.notify import Notify, SigningKeyRef
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.observe import policy as policies
from stromboli.perform.notifications.due import AllDue, Due
from stromboli.perform.notifications.lanes import Lanes
from stromboli.perform.notifications.sending import Sender
from stromboli.perform.notify import Notifier
from stromboli.plan import notify, receivers
from stromboli.plan.notify import Attempted, Delivered, Failed
from stromboli.settings import Settings
from stromboli.status import notification
from stromboli.store import Store

log = logging.getLogger(__name__)

Wire = dict[str, Any]
_EVENT = "notification"  # one event of each reason for a run


class Deliveries:
    """Delivers what is due."""

    def __init__(
        self, cluster: Cluster, settings: Settings, store: Store, due: AllDue, notifier: Notifier, sender: Sender
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._due = due
        self._notifier = notifier
        self._sender = sender
        self._lanes = Lanes()
        self._unwritten: dict[str, Wire] = {}  # results by the UID of the run

    async def reconcile(self, uid: str) -> float | None:
        """One attempt, if it is due; seconds until the next pass, None for "when something happens".

        Raises Conflict, ClusterUnavailable; what was sent is then not sent again by the next pass.
        """
        due = self._due.get(uid)
        if due is None:
            self._unwritten.pop(uid, None)
            return None
        if uid in self._unwritten:
            await self._write_again(uid, due)
        elif notify.wait(due.told, _now()) == 0.0:
            async with self._lanes.taken(due.namespace, due.receiver):
                await self._attempt(uid, due)
        left = self._due.get(uid)
        return None if left is None else notify.wait(left.told, _now())

    async def _attempt(self, uid: str, due: Due) -> None:
        run = await self._read(uid, due)
        if run is None:
            return
        self._store.put(run)
        known = self._due.known(run)
        if not known.awaits_notification or notify.wait(known.status.notification, _now()) != 0.0:
            return
        attempted = await self._sent(known)
        now = _now()
        following = notify.following(known, attempted, now)
        self._say(known, attempted, over=following is None)
        self._unwritten[uid] = notification.after(known, attempted, following, now)
        await self._write(run)

    async def _read(self, uid: str, due: Due) -> Run | None:
        """The run, if there is anything to report of it. Raises ClusterUnavailable."""
        run = await self._cluster.answered_run(due.namespace, due.name)
        if run is None or run.uid != uid or run.is_being_deleted or not run.status.is_finished:
            self._due.gone(uid)  # not even finished, if somebody else has written its status
            return None
        return run

    async def _sent(self, run: Run) -> Attempted:
        try:
            wanted = Notify.model_validate(run.notify)
        except ValidationError as error:
            return Failed(sentence(error, "spec.notify"), final=True)
        try:
            policy = await policies.effective(self._cluster, self._settings, run.namespace)
            key = await self._key(run.namespace, wanted.secret_key_ref)
            content = notify.body(run)
            headers = notify.headers(run, content, key, _now())
            status = await self._sender.post(
                wanted.url,
                receiver.parse(wanted.url),
                headers,
                content,
                lambda address, own: receivers.refusal(address, policy.networks, own=own),
            )
        except Refused as error:
            return Failed(f"no policy can say where it may go: {error.message}")
        except NotDelivered as error:
            if error.refused:
                self._notifier.emit(run, EventReason.NotificationRefused, f"spec.notify.url: {error}", key=_EVENT)
            return Failed(str(error))
        return notify.judged(status)

    async def _key(self, namespace: str, ref: SigningKeyRef | None) -> bytes | None:
        """What the notification is signed with; None if it is not. Raises NotDelivered."""
        if ref is None:
            return None
        what = f"spec.notify.secretKeyRef: the Secret {ref.name}"
        try:
            data = await self._cluster.secret_data(namespace, ref.name)
        except ClusterUnavailable as error:  # it may be this Secret alone that may not be read
            raise NotDelivered(f"{what} cannot be read: {error}") from error
        value = (data or {}).get(ref.key)
        if value is None and ref.optional:
            return None
        if value is None:
            missing = f"is not in namespace {namespace}" if data is None else f"has no key {ref.key}"
            raise NotDelivered(f"{what} {missing}")
        if not value:
            raise NotDelivered(f"{what}: the key {ref.key} is empty, and signs nothing")
        return value

    def _say(self, run: Run, attempted: Attempted, *, over: bool) -> None:
        match attempted:
            case Delivered():
                log.info("%s: its end was reported", run.label)
            case Failed(error=error) if over:
                log.warning("%s: its end is not reported any more: %s", run.label, error)
                message = f"the end of the run could not be reported, and is not tried again: {error}"
                self._notifier.emit(run, EventReason.NotificationGivenUp, message, key=_EVENT)
            case Failed(error=error):
                log.info("%s: its end could not be reported yet: %s", run.label, error)

    async def _write_again(self, uid: str, due: Due) -> None:
        run = await self._read(uid, due)
        if run is not None:
            await self._write(run)

    async def _write(self, run: Run) -> None:
        """Write the result of an attempt. Raises Conflict, ClusterUnavailable; it is then written later."""
        new = self._unwritten[run.uid]
        try:
            written = await self._cluster.write_notification(run, new)
        except Rejected as error:  # the object may be full
            log.warning("%s: its status does not say what has become of its notification: %s", run.label, error)
            self._due.remember(run, new)
        else:
            self._due.wrote(run.uid)
            self._store.put(written)
        self._unwritten.pop(run.uid, None)


def _now() -> datetime:
    return datetime.now(UTC)
