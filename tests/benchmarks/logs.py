"""Logs: how soon a follower sees what the CLI has written, what reading them costs, and what many followers cost.

The CLI writes into most of its events when it made them, so what a follower's line is late by is told by the line
itself; both clocks are this machine's. Reading is measured in whole processes, in turns. For the followers, the memory
of the operator is compared before and while they all follow one run.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from stromboli.cli.logs import output
from stromboli.cli.logs.output import Log, Wanted
from stromboli.kube import kubeconfig
from stromboli.kube.user import RUNS, User
from stromboli.naming import AGENTS_API
from tests.benchmarks import proc
from tests.benchmarks.bed import Bed, say
from tests.benchmarks.numbers import Goal, ms, p95, rounded, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch
from tests.support import gateways
from tests.support.operator import OperatorProcess, service_account_kubeconfig

FOLLOWERS = 50
TURNS = 15  # of each run that is followed, two events each
NAMESPACE = "real"
SECONDS = 60.0
SYSTEM = "stromboli-system"
PLUGIN, RAW, START = "kubectl stromboli logs", "kubectl get --raw", "kubectl stromboli logs, to its first request"
_numbers = itertools.count(1)


def measure(bed: Bed, rounds: int) -> Result:
    """Follow `rounds` runs, read one as often, and follow one by many."""
    with bed.operator() as operator, _gateway(bed), User(kubeconfig.read([bed.kubeconfig])) as user:
        late: list[float] = []
        first: list[float] = []
        for number in range(rounds):
            found = _lateness(bed, user)
            first.append(found[0])
            late += found
            say(f"followed, round {number + 1} of {rounds}: first {ms(found[0])}, median {ms(median(found))}")
        sides = _reading(bed, _finished(bed), rounds)
        before, while_followed = _followed_by_many(bed, operator, user)
    middle = {name: median(taken) for name, taken in sides.items()}
    more = middle[PLUGIN] - middle[RAW]
    grown = while_followed - before
    reading: list[tuple[str, ...]] = [("", "median", "min", "max")]
    reading += [(name, ms(middle[name]), ms(min(taken)), ms(max(taken))) for name, taken in sides.items()]
    return Result(
        name="logs",
        tables=[
            Table(
                f"From the CLI's event to the follower's line, {rounds} runs",
                [
                    ("", "p50", "p95", "max", "lines"),
                    ("the first line", ms(median(first)), ms(p95(first)), ms(max(first)), str(len(first))),
                    ("every line", ms(median(late)), ms(p95(late)), ms(max(late)), str(len(late))),
                ],
            ),
            Table(f"Reading the log of a run that has ended, {rounds} rounds", reading),
            Table(
                f"The operator's memory, MB, with {FOLLOWERS} followers of one run",
                [("", "before", "meanwhile"), ("resident", f"{before:.1f}", f"{while_followed:.1f}")],
            ),
        ],
        goals=[
            Goal("first line of logs -f after the CLI wrote it, p95", p95(first), 0.3, "at most", " s"),
            Goal("every line of logs -f, p95", p95(late), 0.3, "at most", " s"),
            Goal("kubectl stromboli logs beyond get --raw / its own start", more / middle[START], 1.0, "at most"),
            Goal(f"{FOLLOWERS} followers, memory of the operator", grown, 10, "at most", " MB"),
        ],
        data={
            "seconds": {"first": spread(first), "every": spread(late)} | {n: spread(t) for n, t in sides.items()},
            **rounded({"memory before": before, "memory meanwhile": while_followed}),
        },
    )


@contextmanager
def _gateway(bed: Bed) -> Iterator[None]:
    """The way from the API server to the operator, inside the block."""
    account = service_account_kubeconfig(bed.kubectl, bed.kubeconfig, bed.folder, "gateway")
    with gateways.running_gateway(account, SYSTEM, bed.folder / "gateway.log") as running:
        gateways.apply(bed.kubectl, *gateways.registration(SYSTEM, running.port))
        gateways.until(lambda: bed.cluster.get(AGENTS_API)[0] == 200, "the API server reaches the gateway")
        yield
        bed.kubectl("delete", "apiservice", "v1alpha1.agents.stromboli.dev")


def _working(bed: Bed, turns: int, pause: float) -> str:
    """A run whose agent uses tools for so many turns."""
    name = f"logs-{next(_numbers)}"
    bed.api.create_run(
        NAMESPACE,
        name,
        {
            "prompt": f"LOOP{{sleep {pause}}}",
            "image": bed.image,
            "claude": {"allowedTools": ["Bash"], "maxTurns": turns},
        },
    )
    return name


def _lateness(bed: Bed, user: User) -> list[float]:
    """How late each line of a run comes that is followed from before its start, in the order of the lines."""
    name = _working(bed, TURNS, 0.1)
    command = [_program(), "logs", "-f", "--raw", "-n", NAMESPACE, name]
    late = []
    with subprocess.Popen(command, env=_environ(bed), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.time()
            if written := json.loads(line).get("timestamp"):
                late.append(now - datetime.fromisoformat(written).timestamp())
    if process.returncode != 0 or len(late) < TURNS:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} after {len(late)} events")
    return late


def _finished(bed: Bed) -> str:
    with Watch(bed.api, NAMESPACE) as watch:
        name = f"logs-{next(_numbers)}"
        bed.api.create_run(NAMESPACE, name, {"prompt": "ECHO{forty-two}", "image": bed.image})
        watch.finished(name)
    return name


def _reading(bed: Bed, name: str, rounds: int) -> dict[str, list[float]]:
    kubectl = str(bed.programs.kubectl)
    plugin = bed.folder / "bin/kubectl-stromboli"
    plugin.parent.mkdir(exist_ok=True)
    if not plugin.exists():
        plugin.symlink_to(_program())
    sides = {
        PLUGIN: [kubectl, "stromboli", "logs", "-n", NAMESPACE, name],
        RAW: [kubectl, "get", "--raw", f"{AGENTS_API}/namespaces/{NAMESPACE}/agentruns/{name}/log"],
        START: [kubectl, "stromboli", "logs", "-n", NAMESPACE, name],
    }
    nowhere = bed.folder / "nowhere.kubeconfig"
    nowhere.write_text(re.sub(r"https://[^\s\"]+", "https://127.0.0.1:1", bed.kubeconfig.read_text()))
    samples: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, command in sides.items():
            if side == START:  # where nothing listens, it ends with its first request
                taken = _timed(command, {**_environ(bed), "KUBECONFIG": str(nowhere)}, code=1)
            else:
                taken = _timed(command, _environ(bed), words="forty-two")
            if number:  # the first is a warm-up: page cache
                samples[side].append(taken)
    return samples


def _followed_by_many(bed: Bed, operator: OperatorProcess, user: User) -> tuple[float, float]:
    """The operator's resident memory before, and the most while all follow."""
    name = _working(bed, 400, 0.2)
    uid = _started(user, name)
    read, stop = [0] * FOLLOWERS, threading.Event()
    before = proc.megabytes(operator.pid)[0]
    threads = [
        threading.Thread(target=_follow, args=(bed, name, uid, read, number, stop), daemon=True)
        for number in range(FOLLOWERS)
    ]
    for thread in threads:
        thread.start()
    gateways.until(lambda: all(read), f"{FOLLOWERS} followers read something")
    most, ends = 0.0, time.monotonic() + 10
    while time.monotonic() < ends:
        most = max(most, proc.megabytes(operator.pid)[0])
        time.sleep(0.2)
    stop.set()
    bed.api.delete_runs(NAMESPACE)
    for thread in threads:
        thread.join(SECONDS)
    bed.quiet()
    return before, most


def _follow(bed: Bed, name: str, uid: str, read: list[int], number: int, stop: threading.Event) -> None:
    with User(kubeconfig.read([bed.kubeconfig])) as user:
        log = Log(user, NAMESPACE, name, uid)
        for piece in output.pieces(log, Wanted(1, "agent", follow=True), over=stop.is_set):
            read[number] += len(piece.data)
            if stop.is_set():
                return


def _started(user: User, name: str) -> str:
    """The UID of a run whose agent has begun."""
    found: dict[str, Any] = {}

    def begun() -> bool:
        found.update(user.get(RUNS, NAMESPACE, name))
        if not (found.get("status") or {}).get("attempts"):
            return False
        log = Log(user, NAMESPACE, name, found["metadata"]["uid"])
        return log.state(Wanted(1, "agent")) == "running"

    gateways.until(begun, f"the agent of {name} has begun")
    return str(found["metadata"]["uid"])


def _program() -> str:
    return str(Path(sys.executable).parent / "stromboli")


def _environ(bed: Bed) -> dict[str, str]:
    return {
        "PATH": f"{bed.folder / 'bin'}:{os.defpath}",
        "HOME": str(bed.folder),
        "KUBECONFIG": str(bed.kubeconfig),
    }


def _timed(command: Sequence[str], environ: dict[str, str], *, words: str = "", code: int = 0) -> float:
    """The seconds that a command takes. Raises RuntimeError if it ends otherwise, or does not print these words."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    taken = time.perf_counter() - began
    if done.returncode != code or words not in done.stdout:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return taken
