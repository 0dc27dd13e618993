"""The operator with tracing: `python -m tests.benchmarks.traced_operator FILE` instead of `stromboli operator`.

It runs the operator's own code; only the calls listed here are wrapped. Each writes one line of JSON to FILE when it
returns: its name, the UID of the run, its start and end (CLOCK_MONOTONIC, which is the same for all processes of a
machine). `stages` reads the lines.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from stromboli.attempt import records
from stromboli.attempt.folder import SessionFolder
from stromboli.handlers.run import run_operator
from stromboli.kube.client import Cluster
from stromboli.models.session import Session
from stromboli.podman.containers import Containers
from stromboli.podman.images import Images
from stromboli.podman.volumes import Volumes
from stromboli.reconcile import Reconciler
from stromboli.work_queue import WorkQueue
from tests.benchmarks.stages import RECONCILE, SESSION_STATUS, STATUS

# The wrapped calls and their names in the trace. The first two get the run's UID as an argument; calls within a pass
# inherit it.
CALLS: tuple[tuple[Any, str, str], ...] = (
    (WorkQueue, "wake", "woken"),
    (Reconciler, "reconcile", RECONCILE),
    (Cluster, "policies", "API: list policies"),
    (Cluster, "namespace_labels", "API: get namespace"),
    (Cluster, "secret_data", "API: get secret"),
    (Cluster, "session", "API: get session"),
    (Cluster, "run_heads", "API: list runs of the session"),
    (Cluster, "write_status", STATUS),
    (Cluster, "post_event", "API: post event"),
    (Images, "inspect", "Podman: inspect image"),
    (Volumes, "create", "Podman: create volume"),
    (Volumes, "remove", "Podman: remove volume"),
    (Containers, "create", "Podman: create container"),
    (Containers, "start", "Podman: start container"),
    (Containers, "wait", "Podman: wait for the end"),
    (Containers, "inspect", "Podman: inspect container"),
    (Containers, "remove", "Podman: remove container"),
    (SessionFolder, "prepare_attempt", "folder: plan and out"),
    (SessionFolder, "write_secrets", "folder: secrets"),
    (SessionFolder, "point", "folder: links"),
    (SessionFolder, "remove_secrets", "folder: remove secrets"),
    (records, "read", "records: read"),
)
GIVEN_THE_UID = ("woken", RECONCILE)

_run: ContextVar[str] = ContextVar("run", default="")


class Sink:
    """Appends lines to a file, each by a single write, since several threads write."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def span(self, name: str, uid: str, began: float) -> None:
        line = json.dumps({"name": name, "run": uid, "began": began, "ended": time.monotonic()})
        os.write(self._fd, line.encode() + b"\n")


def main(path: str) -> None:
    """Wrap the calls and run the operator until SIGTERM."""
    sink = Sink(path)
    for owner, attribute, name in CALLS:
        setattr(owner, attribute, _wrapped(getattr(owner, attribute), name, sink))
    run_operator()


def _wrapped(call: Callable[..., Any], name: str, sink: Sink) -> Callable[..., Any]:
    def enter(arguments: tuple[Any, ...]) -> str:
        if name == RECONCILE:
            _run.set(arguments[1])
        return str(arguments[1]) if name in GIVEN_THE_UID else _run.get()

    @functools.wraps(call)
    async def waiting(*arguments: Any, **options: Any) -> Any:
        uid, began = enter(arguments), time.monotonic()
        try:
            return await call(*arguments, **options)
        finally:
            sink.span(_told(name, arguments), uid, began)

    @functools.wraps(call)
    def blocking(*arguments: Any, **options: Any) -> Any:
        uid, began = enter(arguments), time.monotonic()
        try:
            return call(*arguments, **options)
        finally:
            sink.span(_told(name, arguments), uid, began)

    return waiting if inspect.iscoroutinefunction(call) else blocking


def _told(name: str, arguments: tuple[Any, ...]) -> str:
    """The name of a call in the trace: a write of a session's status has another than one of a run's."""
    return SESSION_STATUS if name == STATUS and isinstance(arguments[1], Session) else name


if __name__ == "__main__":
    main(sys.argv[1])
