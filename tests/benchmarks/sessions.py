"""Named sessions for benchmarks: created by a run with hooks, awaited, and deleted with everything they own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stromboli import naming
from tests.benchmarks.bed import Bed, prompt, spec
from tests.benchmarks.watch import Watch

PATIENCE = 60.0
LOOK = 0.02
# Hooks write here: below /usr, like package managers.
INSTALLS = "/usr/lib/installs"


@contextmanager
def begun(bed: Bed, watch: Watch, name: str, lifecycle: dict[str, Any]) -> Iterator[str]:
    """A session initialised by one run, which has finished. Yields its UID. It is deleted after the block."""
    first = f"{name}-begins"
    bed.api.create_run(watch.namespace, first, {**spec(bed.image), **of(name), "lifecycle": lifecycle})
    watch.finished(first)
    yield idle(bed, watch.namespace, name)
    delete(bed, watch.namespace, name)


def of(name: str, fork: str | None = None) -> dict[str, Any]:
    """The part of a run's spec that names its session."""
    return {"session": {"name": name} if fork is None else {"name": name, "fork": fork}}


def resumed(name: str) -> dict[str, Any]:
    """The spec of a simple run in an existing session, which provides everything but the prompt."""
    return {"prompt": prompt(), **of(name)}


def idle(bed: Bed, namespace: str, name: str) -> str:
    """Wait until no run holds the session any more and its container is stopped. Returns its UID."""
    _until(lambda: "currentRun" not in bed.api.session(namespace, name)["status"], f"the session {name} is in use")
    bed.quiet()
    uid: str = bed.api.session(namespace, name)["metadata"]["uid"]
    return uid


def delete(bed: Bed, namespace: str, name: str) -> None:
    """Delete a session, and wait until its container, its volume and, of a fork, its copy are gone from Podman."""
    uid = bed.api.session(namespace, name)["metadata"]["uid"]
    bed.api.delete_session(namespace, name)
    paths = [f"containers/{naming.agent(uid).name}", f"volumes/{naming.volume(uid)}", f"images/{naming.copy(uid)}"]
    with bed.podman_api() as client:

        def gone() -> bool:
            return all(client.get(f"{path}/exists").status_code == 404 for path in paths)

        _until(gone, f"something of the session {name} is left")
    bed.quiet()


def installs(small: int, small_bytes: int, big: int, big_bytes: int) -> str:
    """A hook that writes files of random bytes; a hundred small ones per folder."""
    return (
        "python3 -c '"
        "import os\n"
        f"for n in range({small}):\n"
        f'    os.makedirs(f"{INSTALLS}/{{n // 100}}", exist_ok=True)\n'
        f'    open(f"{INSTALLS}/{{n // 100}}/{{n}}", "wb").write(os.urandom({small_bytes}))\n'
        f"for n in range({big}):\n"
        f'    open(f"{INSTALLS}/big-{{n}}", "wb").write(os.urandom({big_bytes}))\n'
        "'"
    )


def _until(true: Callable[[], bool], else_: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > limit:
            raise TimeoutError(f"{else_} after {PATIENCE:.0f} s")
        time.sleep(LOOK)
