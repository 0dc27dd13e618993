"""Starts a container only with the mounts that were checked: see mounted.py for why, and how they are compared.

It takes some 12 ms more than a start. Nothing here is remembered: a container that an operator, killed meanwhile, has
left initialized is initialized anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from stromboli import naming
from stromboli.apart import apart
from stromboli.errors import PodmanError
from stromboli.node import bridges, cleanups, mounted
from stromboli.plan.stack.sources import Identity
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman

PATIENCE = 10.0  # seconds to look at what is mounted
TRIES = 3


async def start(
    podman: Podman,
    container: str,
    expected: Mapping[str, Identity],
    listen: Callable[[], Awaitable[None]] | None = None,
    own: Collection[str] = (),
) -> str | None:
    """Start a container that does not run; None once it runs. `expected` is what its binds mount, by target, and `own`
    are targets of the operator's own mounts, over and below which nothing else may be.

    `listen` is awaited before it runs, and may attach to it. If a target has something else mounted, that target is
    returned, and nothing of the container has run: look at its sources again. Raises PodmanError, also if the operator
    cannot see the container's process, and PodmanUnavailable.
    """
    try:
        return await _started(podman, container, expected, listen, own)
    finally:
        await apart(bridges.hold)  # its start may have brought one up


async def _started(
    podman: Podman,
    container: str,
    expected: Mapping[str, Identity],
    listen: Callable[[], Awaitable[None]] | None,
    own: Collection[str],
) -> str | None:
    if not expected and not own:
        await _heard(listen)
        await podman.containers.start(container)
        return None
    pid, target = await _initialized(podman, container, listen, lambda pid: _wrong(pid, expected, own))
    if target:
        await podman.containers.stop(container)
        return target
    await podman.containers.start(container)
    # Had its process been killed since, Podman would have mounted everything again.
    if (await _state(podman, container)).pid not in (pid, 0):
        await podman.containers.kill(container)
        raise PodmanError(f"the container {container} was started with mounts that were not checked; it was killed")
    return None


async def _initialized(
    podman: Podman,
    container: str,
    listen: Callable[[], Awaitable[None]] | None,
    wrong: Callable[[int], str | None],
) -> tuple[int, str | None]:
    """Initialize the container; returns its process, and the target that has something else mounted, if there is one.

    Podman may be late to clean up after an earlier time, and undo what it has just initialized.
    """
    for tries_left in reversed(range(TRIES)):
        await _calm(podman, container)
        await podman.containers.init(container)
        await _heard(listen)
        pid = (await _state(podman, container)).pid
        try:
            return pid, await _differing(podman, container, lambda pid=pid: wrong(pid))  # type: ignore[misc]
        except _Vanished:
            if not tries_left:
                raise
    raise AssertionError("the last try has returned or raised")


class _Vanished(PodmanError):
    """The process is gone that was to be looked at."""


async def _heard(listen: Callable[[], Awaitable[None]] | None) -> None:
    if listen is not None:
        await listen()


async def _calm(podman: Podman, container: str) -> None:
    """Nothing of the container is mounted, and nobody is about to undo what is mounted next."""
    state = await _state(podman, container)
    if state.status == "initialized":
        await podman.containers.stop(container)
    if state.status != "created":
        await apart(cleanups.wait, state.id)


def _wrong(pid: int, expected: Mapping[str, Identity], own: Collection[str]) -> str | None:
    """Blocking. Raises OSError."""
    if (target := mounted.differing(pid, expected)) is not None:
        return target
    return mounted.intruder(pid, own, naming.TREES) if own else None


async def _differing(podman: Podman, container: str, look: Callable[[], str | None]) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await apart(look)
    except TimeoutError as error:
        said = f"what the container {container} has mounted cannot be checked: a file system does not respond"
        raise PodmanError(said) from error
    except OSError as error:
        await podman.containers.stop(container)
        raise (_Vanished if isinstance(error, FileNotFoundError | ProcessLookupError) else PodmanError)(
            f"what the container {container} has mounted cannot be checked ({error.strerror}: {error.filename}); the "
            "operator has to see the node's processes, and as root, to have the capability SYS_PTRACE"
        ) from error


async def _state(podman: Podman, container: str) -> ContainerState:
    state = await podman.containers.inspect(container)
    if state is None:
        raise PodmanError(f"the container {container} was removed while it was started")
    return state
