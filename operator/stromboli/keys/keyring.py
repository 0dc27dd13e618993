"""A process's keys: the shared authority from its Secret, and a certificate of it that is never about to end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from stromboli.errors import ClusterUnavailable, Conflict, LocalFailure
from stromboli.keys import certificates
from stromboli.keys.certificates import Authority, Leaf, Subject
from stromboli.naming import GATEWAY_KEYS

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "ca.crt", "ca.key"  # in the Secret


class Secrets(Protocol):
    """The Secret, in the operator's namespace."""

    async def keys(self) -> Mapping[str, bytes] | None:
        """Its data, None if it does not exist. Raises ClusterUnavailable."""

    async def create_keys(self, data: Mapping[str, str]) -> None:
        """Create it. Raises Conflict if it exists, Rejected, ClusterUnavailable."""


def _now() -> datetime:
    return datetime.now(UTC)


class Keyring:
    """The keys of one process, once `refresh` has returned for the first time."""

    def __init__(self, secrets: Secrets, subject: Subject, now: Callable[[], datetime] = _now) -> None:
        self._secrets = secrets
        self._subject = subject
        self._now = now
        self._held: tuple[Authority, Leaf] | None = None

    @property
    def authority(self) -> str:
        """The CA's certificate (PEM), that both sides trust."""
        return self._known[0].certificate

    @property
    def leaf(self) -> Leaf:
        """The process's own certificate."""
        return self._known[1]

    @property
    def _known(self) -> tuple[Authority, Leaf]:
        assert self._held is not None, "`refresh` comes first"
        return self._held

    async def refresh(self) -> bool:
        """Read the Secret, and make a new certificate if there is none, it is worn, or the CA is another.

        Returns whether there is a new one. Raises ClusterUnavailable, also for a Secret that cannot be used.
        """
        authority = await self._authority()
        if self._held is not None and self._held[0] == authority and not self._held[1].is_worn(self._now()):
            return False
        try:
            self._held = authority, await certificates.new_leaf(authority, self._subject)
        except LocalFailure as e:
            raise ClusterUnavailable(f"{e}; delete the Secret {GATEWAY_KEYS} if its keys are not valid") from e
        return True

    async def _authority(self) -> Authority:
        data = await self._secrets.keys()
        if data is None:
            data = await self._created()
        try:
            return Authority(data[CERTIFICATE].decode("ascii"), data[KEY].decode("ascii"))
        except (KeyError, ValueError) as e:
            raise ClusterUnavailable(
                f"the Secret {GATEWAY_KEYS} has no valid {CERTIFICATE} and {KEY}; delete it, and it is created anew"
            ) from e

    async def _created(self) -> Mapping[str, bytes]:
        """The Secret's data after it has been created, by us or by whoever was faster."""
        try:
            made = await certificates.new_authority()
        except LocalFailure as e:
            raise ClusterUnavailable(str(e)) from e
        try:
            await self._secrets.create_keys({CERTIFICATE: made.certificate, KEY: made.key})
            log.info("created the Secret %s, with the keys of the gateway and the operators", GATEWAY_KEYS)
        except Conflict:
            log.info("another process has created the Secret %s", GATEWAY_KEYS)
        if (data := await self._secrets.keys()) is None:
            raise ClusterUnavailable(f"the Secret {GATEWAY_KEYS} was removed as soon as it was created")
        return data
