"""What happens when a service's container has ended while its stack is in use. Pure.

Podman restarts nothing. A service that should run is started again, whatever the file says of restarts: without its
database an agent can do nothing. What has done its work stays ended: a one-shot (another service waits for its end),
and what ended with 0 and is not to be restarted always. But one that has served others may have ended with 0 because
it was stopped, as databases do: the next start of the stack starts it again. A one-shot that fails is tried again only
if its `restart` says so, since whoever waits for it is to learn of it at once, as in Compose.

Each end comes with how long the container had run. As in Docker, an end after a while (STEADY) begins the count anew;
more and more quick ends are answered by longer and longer pauses. After LOOP of them in a row the service counts as
failed for a start that waits for it, but it is still tried: a database that lacked space may come back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stromboli import backoff

STEADY = 10.0  # seconds
LOOP = 5
_ALWAYS = ("always", "unless-stopped")
_ON_FAILURE = re.compile(r"on-failure(?::([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class End:
    """The end of a container that had run for `lived` seconds, after `crashes` quick ends in a row before it."""

    code: int
    lived: float
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Stay:
    """It is not started again. If it is `completed`, that is remembered for this container: a later start of the
    stack leaves it as it is. Without that, nobody could tell it from one that was stopped, and has to run.
    """

    completed: bool


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after this many seconds. `loop` is why a start that waits for it fails, a predicate, or empty."""

    after: float
    crashes: int
    loop: str = ""


def decide(end: End, restart: str | None, *, one_shot: bool, serves: bool = False) -> Stay | Restart:
    """What happens to a service whose `restart` is this. `serves`: it was healthy, or has listened on its ports."""
    always = restart in _ALWAYS
    if end.code == 0 and (one_shot or not always):
        return Stay(completed=one_shot or not serves)
    crashes = 1 if end.lived >= STEADY else end.crashes + 1
    if one_shot and not always and crashes > _tries(restart):
        return Stay(completed=False)
    times = f"ended {crashes} times in a row, each time within {STEADY:.0f} s, the last time with exit code {end.code}"
    return Restart(backoff.backoff(crashes), crashes, times if crashes >= LOOP else "")


def is_asked_for(restart: str | None) -> bool:
    """Whether the file asks for a restart of a service that fails."""
    return restart in _ALWAYS or _ON_FAILURE.fullmatch(restart or "") is not None


def _tries(restart: str | None) -> int:
    """How often a one-shot that fails is started again."""
    found = _ON_FAILURE.fullmatch(restart or "")
    if found is None:
        return 0
    return int(found[1]) if found[1] else LOOP
