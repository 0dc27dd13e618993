"""Deletes finished runs after their time to live, and those beyond a policy's `historyLimit`.

A run is deleted through the API server, on condition that it is the version that the decision was about. What it has on
the node is then removed as after any deletion (deletions.py, sweep.py). So nothing has to be remembered: an operator
that starts anew finds all deadlines in its first list of the runs.

The policies are kept in memory to know when to look; before they delete something, they are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stromboli.backoff import MAX_DELAY, backoff
from stromboli.errors import ClusterUnavailable, Conflict, Refused, Rejected, StromboliError
from stromboli.heartbeat import beat
from stromboli.kube.client import Cluster
from stromboli.observe import policy as policies
from stromboli.observe import runs
from stromboli.perform.history import History
from stromboli.plan import expiry
from stromboli.plan.expiry import FOREVER, Expired, Finished, Keeping
from stromboli.plan.policy import Rules
from stromboli.settings import Settings
from stromboli.store import Store
from stromboli.supervision import set_within

log = logging.getLogger(__name__)

PAUSE = 0.2  # seconds between two looks: runs that end meanwhile are looked at together
LONGEST = 30.0  # seconds between two looks at most: while the machine is suspended, the event loop's clock stands still
REFRESH = 300.0  # seconds after which the policies and the labels of the namespaces are read again
BATCH = 32  # how many runs of a namespace are deleted before its policies are read again
PATIENCE = 4.0  # how many times longer than usual to wait for a run that cannot be deleted: others go first
TRIES = 5  # deletions that fail one after the other until the API server itself counts as unavailable


@dataclass(slots=True)
class _Known:
    """The policies of the cluster as they were read at a moment, after so many changes, and what they say for each
    namespace.
    """

    changes: int
    read: float
    rules: Sequence[Rules] = ()
    keeping: dict[str, Keeping] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Failed:
    """How often a run could not be deleted, and the moment of the next try."""

    times: int
    again: float


class Expiry:
    """Deletes finished runs; `wake` is called with the UID of each that is gone."""

    def __init__(
        self, cluster: Cluster, settings: Settings, store: Store, history: History, wake: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._base = policies.base(settings)
        self._store = store
        self._history = history
        self._wake = wake
        self._changes = 0  # of policies
        self._known: _Known | None = None
        self._next: dict[str, float] = {}  # by namespace: the moment of its next look
        self._failed: dict[str, _Failed] = {}  # by the UID of the run
        self._unanswered = 0  # deletions in a row

    def policies_changed(self) -> None:
        """A policy was created, changed or deleted: look at all namespaces again."""
        self._changes += 1
        self._history.news.set()

    async def run(self) -> None:
        """Delete what is due, for as long as the operator runs."""
        failures = 0
        while True:
            beat()
            try:
                wait = await self.look()
            except (StromboliError, OSError) as error:
                failures += 1
                log.warning("finished runs are deleted later: %s; retrying in %.1f s", error, backoff(failures))
                await asyncio.sleep(backoff(failures))
            else:
                failures = 0
                await asyncio.sleep(PAUSE)
                await set_within(self._history.news, max(wait - PAUSE, 0.0))

    async def look(self) -> float:
        """Delete what is due now; seconds until the next look. Raises ClusterUnavailable."""
        now = self._history.now()
        outdated = self._known is None or self._known.changes != self._changes or now - self._known.read >= REFRESH
        changed = self._history.take_changed() | (self._history.namespaces() if outdated else set())
        self._next |= dict.fromkeys(changed, now)  # noted before anything that may fail
        if outdated:
            await self._read_policies()
        for namespace in sorted(name for name, moment in self._next.items() if moment <= now):
            again = await self._look_at(namespace)
            if again is None:
                del self._next[namespace]
            else:
                self._next[namespace] = again
        self._failed = {uid: failed for uid, failed in self._failed.items() if self._history.knows(uid)}
        left = min(self._next.values(), default=now + LONGEST) - self._history.now()
        return min(max(left, 0.0), LONGEST)

    async def _look_at(self, namespace: str) -> float | None:
        """Delete what is due in a namespace; the moment of its next look, None for "when something happens"."""
        said = await self._decided(namespace)
        if any(self._may_try(one) for one in said.by_policy):
            await self._read_policies()
            said = await self._decided(namespace)
        due = [(one, "its time to live is over") for one in said.by_spec]
        due += [(one, "the policies of its namespace keep it no longer") for one in said.by_policy]
        tried = [(one, why) for one, why in due if self._may_try(one)]
        for one, why in tried[:BATCH]:
            await self._delete(namespace, one, why)
        if len(tried) > BATCH:
            return self._history.now()
        moments = [self._failed[one.uid].again for one, _ in due if one.uid in self._failed]
        return min(moments if said.again is None else [*moments, said.again], default=None)

    async def _decided(self, namespace: str) -> Expired:
        finished = self._history.of(namespace)
        keeping = await self._keeping(namespace) if finished else FOREVER
        return expiry.expired(finished, keeping, self._history.now())

    async def _delete(self, namespace: str, one: Finished, why: str) -> None:
        try:
            await self._cluster.delete_finished_run(namespace, one.name, one.uid, one.version)
        except Conflict:  # it has changed, or is gone: the next look decides on what is read now
            await runs.read(self._cluster, self._store, one.uid, namespace, one.name)
            if self._history.has(one):
                self._put_off(one)
        except Rejected as error:
            self._put_off(one)
            log.warning("%s/%s cannot be deleted: %s", namespace, one.name, error)
        except ClusterUnavailable as error:  # possibly because of this run only, which must not keep the others
            self._put_off(one, at_most=MAX_DELAY)
            log.warning("%s/%s is not deleted yet: %s", namespace, one.name, error)
            self._unanswered += 1
            if self._unanswered >= TRIES:
                self._unanswered = 0
                raise
        else:
            self._unanswered = 0
            log.info("%s/%s is deleted: %s", namespace, one.name, why)
            self._store.delete(one.uid)
        if self._store.is_deleted(one.uid):
            self._wake(one.uid)

    def _may_try(self, one: Finished) -> bool:
        failed = self._failed.get(one.uid)
        return failed is None or failed.again <= self._history.now()

    def _put_off(self, one: Finished, at_most: float = math.inf) -> None:
        times = self._failed[one.uid].times + 1 if one.uid in self._failed else 1
        self._failed[one.uid] = _Failed(times, self._history.now() + min(PATIENCE * backoff(times), at_most))

    async def _read_policies(self) -> None:
        """Read all policies. If one cannot be read, it might forbid anything, so none of them deletes a run."""
        known = _Known(self._changes, self._history.now())
        with contextlib.suppress(Refused):  # which the policy's status says
            known.rules = [policies.parse(one) for one in await self._cluster.policies()]
        self._known = known

    async def _keeping(self, namespace: str) -> Keeping:
        known = self._known
        if known is None or expiry.says_nothing(known.rules):
            return FOREVER
        if namespace not in known.keeping:
            labels = await self._cluster.namespace_labels(namespace)
            known.keeping[namespace] = expiry.keeping(known.rules, labels, self._base)
        return known.keeping[namespace]
