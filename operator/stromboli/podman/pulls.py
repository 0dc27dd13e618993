"""One pull as Podman reports it: a stream of lines, the progress that they say, and how long the next may take.

What the end of a failed one means is in failures.py; which pulls there are and when they are repeated, in node/.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from stromboli.errors import PullFailed
from stromboli.podman.failures import answer, pull_failure, reading
from stromboli.registry_credentials import Credentials, IdentityToken, without_secrets
from stromboli.registry_problem import RegistryProblem

# Seconds in which a line has to come. Podman writes one a second for each layer of which bytes arrive, so while a
# layer is being fetched, silence means that its registry sends nothing.
FETCHING = 60.0
# Before the first layer Podman writes nothing, and may itself be waiting: 30 s for each address that does not answer,
# and up to four times 60 s for a registry that answers 429.
ASKING = 300.0
# While all layers that it has begun are complete, Podman unpacks them, which is silent too.
UNPACKING = 600.0

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is: `fetched` of `size` bytes of the layers whose size is known, `complete` of `layers` begun.

    Podman begins six layers at a time, so size and layers grow. The image's configuration counts as a layer.
    """

    fetched: int = 0
    size: int = 0
    complete: int = 0
    layers: int = 0

    def __str__(self) -> str:
        if not self.size:
            return ""
        return f"{self.fetched / _MIB:.1f} of {self.size / _MIB:.1f} MiB, {self.complete} of {self.layers} layers"


async def follow(
    reference: str,
    lines: AsyncIterator[bytes],
    report: Callable[[PullProgress], None],
    credentials: Credentials | None = None,
) -> None:
    """Read a pull's stream to its end; `report` is called whenever the progress changes. Raises PullFailed, NoSpace.

    A registry may repeat in its error what it was given: the secret of these credentials is left out.
    """
    layers = _Layers()
    before = PullProgress()
    while (line := await _next(reference, lines, layers.patience)) is not None:
        with reading("a pull"):
            entry: Any = answer(line) if line.strip() else {}
            failure = entry.get("error")
            layers.heard(entry)
        if failure:
            raise pull_failure(reference, without_secrets(str(failure), credentials))
        if (now := layers.progress) != before:
            before = now
            report(now)


async def _next(reference: str, lines: AsyncIterator[bytes], patience: float) -> bytes | None:
    try:
        async with asyncio.timeout(patience):
            return await anext(lines, None)
    except TimeoutError:
        message = f"image {reference} could not be pulled: nothing came from its registry for {patience:.0f} s"
        raise PullFailed(message, RegistryProblem.SILENT) from None


class _Layers:
    """The layers that a stream has named so far."""

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[int, int]] = {}
        self._begun: set[str] = set()
        self._complete: set[str] = set()

    @property
    def progress(self) -> PullProgress:
        fetched, size = (sum(each[i] for each in self._bytes.values()) for i in (0, 1))
        return PullProgress(fetched, size, len(self._complete), len(self._begun))

    @property
    def patience(self) -> float:
        """The seconds in which the next line has to come."""
        if not self._begun:
            return ASKING
        return UNPACKING if self._begun == self._complete else FETCHING

    def heard(self, entry: dict[str, Any]) -> None:
        """Take note of one line."""
        if not (name := str(entry.get("id") or "")):
            return
        self._begun.add(name)
        detail = entry.get("progressDetail") or {}
        if detail.get("total"):
            self._bytes[name] = (int(detail.get("current", 0)), int(detail["total"]))
        elif entry.get("status") in ("Download complete", "Already exists"):
            self._complete.add(name)
            if name in self._bytes:  # the size of one that arrived too fast to be reported is unknown
                size = self._bytes[name][1]
                self._bytes[name] = (size, size)


def auth_header(credentials: Credentials) -> dict[str, str]:
    """The header with credentials for the registry of the reference, which Podman gives to none of its mirrors.

    For one set of credentials Podman writes no file, as it does for a map of registries.
    """
    if isinstance(credentials, IdentityToken):
        given = {"identitytoken": credentials.token}
    else:
        given = {"username": credentials.user, "password": credentials.password}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}
