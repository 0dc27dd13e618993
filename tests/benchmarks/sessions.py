"""Named sessions as the benchmarks use them: begun by a run with hooks, waited for, deleted with all that is theirs."""

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
# Where hooks write: below /usr, as package managers do.
INSTALLS = "/usr/lib/installs"


@contextmanager
def begun(bed: Bed, watch: Watch, name: str, lifecycle: dict[str, Any]) -> Iterator[str]:
    """A session that one run has initialised and left again; its UID. Nothing of it is left afterwards."""
    first = f"{name}-begins"
    bed.api.create_run(watch.namespace, first, {**spec(bed.image), **of(name), "lifecycle": lifecycle})
    watch.finished(first)
    yield idle(bed, watch.namespace, name)
    delete(bed, watch.namespace, name)


def of(name: str, fork: str | None = None) -> dict[str, Any]:
    """The part of a run's spec that names its session."""
    return {"session": {"name": name} if fork is None else {"name": name, "fork": fork}}


def resumed(name: str) -> dict[str, Any]:
    """A simple run in a session, which has the rest."""
    return {"prompt": prompt(), **of(name)}


def idle(bed: Bed, namespace: str, name: str) -> str:
    """Return once no run has the session any more and its container is at rest; its UID."""
    _until(lambda: "currentRun" not in bed.api.session(namespace, name)["status"], f"the session {name} is in use")
    bed.quiet()
    uid: str = bed.api.session(namespace, name)["metadata"]["uid"]
    return uid


def delete(bed: Bed, namespace: str, name: str) -> None:
    """Delete a session, and return once its container, its volume and a fork's copy are gone from Podman."""
    uid = bed.api.session(namespace, name)["metadata"]["uid"]
    bed.api.delete_session(namespace, name)
    paths = [f"containers/{naming.container(uid)}", f"volumes/{naming.volume(uid)}", f"images/{naming.copy(uid)}"]
    with bed.podman_api() as client:

        def gone() -> bool:
            return all(client.get(f"{path}/exists").status_code == 404 for path in paths)

        _until(gone, f"something of the session {name} is there")
    bed.quiet()


def installs(small: int, small_bytes: int, big: int, big_bytes: int) -> str:
    """A hook that writes that many files of random bytes, a hundred of the small ones to a folder."""
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
