"""The HTTP API: a run by it against the same by kubectl, calls that wait, and how soon a stream has the CLI's lines.

A run is timed in whole processes, in turns: `curl` of `/run`, and `kubectl apply` followed by `kubectl wait`, each of a
run in a session of its own. For the calls that wait, no operator is there, so that none of them ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from statistics import median
from typing import Any

import aiohttp
import httpx2

from stromboli.naming import AGENTS_API, API_SERVICE
from tests.benchmarks import proc
from tests.benchmarks.api import run
from tests.benchmarks.bed import Bed, prompt, say
from tests.benchmarks.numbers import Goal, ms, p95, rounded, spread
from tests.benchmarks.result import Result, Table
from tests.support import gateways
from tests.support.gateways import GatewayProcess
from tests.support.operator import service_account_kubeconfig

NAMESPACE = "real"
SYSTEM = "stromboli-system"
WAITING = 200  # connections
TURNS = 15  # of each run that is streamed
SECONDS = 120.0
CURL, KUBECTL = "curl of /run", "kubectl apply, kubectl wait"
_numbers = itertools.count(1)


def measure(bed: Bed, rounds: int) -> Result:
    """Time `rounds` runs of each kind, stream as many, and let WAITING calls wait."""
    with _gateway(bed) as gateway:
        with bed.operator():
            samples = _interleaved(bed, gateway, rounds)
            first, late = _streamed(bed, gateway, rounds)
        before, meanwhile = _waiting(bed, gateway)
    middle = {side: median(taken) for side, taken in samples.items()}
    ratio = middle[CURL] / middle[KUBECTL]
    rows: list[tuple[str, ...]] = [("", "median", "min", "max")]
    rows += [(side, *map(ms, (middle[side], min(taken), max(taken)))) for side, taken in samples.items()]
    return Result(
        name="http",
        tables=[
            Table(f"One run in a session of its own, {rounds} rounds", rows),
            Table(
                f"From the CLI's event to the stream's line, {rounds} runs",
                [
                    ("", "p50", "p95", "max", "lines"),
                    ("the first line", ms(median(first)), ms(p95(first)), ms(max(first)), str(len(first))),
                    ("every line", ms(median(late)), ms(p95(late)), ms(max(late)), str(len(late))),
                ],
            ),
            Table(
                f"The gateway's memory, MB, with {WAITING} calls that wait",
                [("", "before", "meanwhile"), ("resident", f"{before:.1f}", f"{meanwhile:.1f}")],
            ),
        ],
        goals=[
            Goal("one run: /run / kubectl apply and wait", ratio, 1.05, "at most"),
            Goal(f"{WAITING} calls that wait, memory of the gateway", meanwhile, 150, "at most", " MB"),
            Goal("first line of a stream after the CLI wrote it, p95", p95(first), 0.3, "at most", " s"),
        ],
        data={
            "seconds": {side: spread(taken) for side, taken in samples.items()}
            | {"first line": spread(first), "every line": spread(late)},
            **rounded({"ratio": ratio, "memory before": before, "memory meanwhile": meanwhile}),
        },
    )


@contextmanager
def _gateway(bed: Bed) -> Iterator[GatewayProcess]:
    """The gateway with the HTTP API, behind the API server, inside the block."""
    process = GatewayProcess(
        service_account_kubeconfig(bed.kubectl, bed.kubeconfig, bed.folder, "gateway"),
        SYSTEM,
        gateways.free_port(),
        bed.folder / "gateway.log",
        http_port=gateways.free_port(),
        local=bed.kubeconfig,
    )
    process.start()
    try:
        gateways.apply(bed.kubectl, *gateways.registration(SYSTEM, process.port))
        gateways.until(lambda: bed.cluster.get(AGENTS_API)[0] == 200, "the API server reaches the gateway")
        yield process
    finally:
        bed.kubectl("delete", "apiservice", API_SERVICE)
        process.stop()


def _interleaved(bed: Bed, gateway: GatewayProcess, rounds: int) -> dict[str, list[float]]:
    sides: dict[str, Callable[[], float]] = {CURL: lambda: _by_curl(bed, gateway), KUBECTL: lambda: _by_kubectl(bed)}
    samples: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, once in sides.items():
            bed.quiet()
            taken = once()
            if number:  # the first is a warm-up: page cache, kubectl's discovery cache
                samples[side].append(taken)
        say(f"round {number} of {rounds}")
    return samples


def _by_curl(bed: Bed, gateway: GatewayProcess) -> float:
    body = json.dumps({"prompt": prompt(), "podman": {"image": bed.image}})
    url = f"http://127.0.0.1:{gateway.http_port}/run"
    command = ["curl", "-s", "-S", "--fail", "-H", f"X-Stromboli-Namespace: {NAMESPACE}", "-d", body, url]
    return _timed([command], "completed")


def _by_kubectl(bed: Bed) -> float:
    name = f"http-{next(_numbers)}"
    spec = {"prompt": prompt(), "image": bed.image, "session": {"name": str(uuid.uuid4())}}
    file = bed.folder / "run.json"
    file.write_text(json.dumps(run(NAMESPACE, name, spec)), encoding="utf-8")
    apply, _ = bed.kubectl_apply(file)
    wait = [apply[0], "wait", "-n", NAMESPACE, "--for=condition=Succeeded", f"agentrun/{name}", "--timeout=60s"]
    return _timed([apply, wait], "condition met", bed.kubectl_apply(file)[1])


def _timed(commands: list[list[str]], words: str, environ: dict[str, str] | None = None) -> float:
    began = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}")
    taken = time.perf_counter() - began
    if words not in done.stdout:
        raise RuntimeError(f"{' '.join(command)} did not say {words!r}: {done.stdout}")
    return taken


def _streamed(bed: Bed, gateway: GatewayProcess, rounds: int) -> tuple[list[float], list[float]]:
    """How late the first line of each stream came, and all lines that say when they were written."""
    first, late = [], []
    for number in range(rounds):
        found = _lateness(bed, gateway)
        first.append(found[0])
        late += found
        say(f"streamed, round {number + 1} of {rounds}: first {ms(found[0])}, median {ms(median(found))}")
    return first, late


def _lateness(bed: Bed, gateway: GatewayProcess) -> list[float]:
    body = {
        "prompt": "LOOP{sleep 0.1}",
        "podman": {"image": bed.image},
        "claude": {"allowed_tools": ["Bash"], "max_turns": TURNS},
    }
    late = []
    with (
        httpx2.Client(base_url=f"http://127.0.0.1:{gateway.http_port}", trust_env=False, timeout=SECONDS) as client,
        client.stream("POST", "/run/stream", json=body, headers={"X-Stromboli-Namespace": NAMESPACE}) as answer,
    ):
        for line in answer.iter_lines():
            now = time.time()
            if line.startswith("data: ") and (written := json.loads(line[6:]).get("timestamp")):
                late.append(now - datetime.fromisoformat(written).timestamp())
    if len(late) < TURNS:
        raise RuntimeError(f"a stream had {len(late)} events with a time only")
    return late


def _waiting(bed: Bed, gateway: GatewayProcess) -> tuple[float, float]:
    """The gateway's resident memory before, and the most while all wait."""
    assert gateway.process is not None
    pid = gateway.process.pid
    before = proc.megabytes(pid)[0]
    meanwhile = asyncio.run(_all_waiting(bed, gateway, pid))
    bed.api.delete_runs(NAMESPACE)
    return before, meanwhile


async def _all_waiting(bed: Bed, gateway: GatewayProcess, pid: int) -> float:
    body: dict[str, Any] = {"prompt": prompt(), "podman": {"image": bed.image}, "claude": {"no_persistence": True}}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.http_port}", connector=connector) as client:
        headers = {"X-Stromboli-Namespace": NAMESPACE}
        calls = [asyncio.ensure_future(client.post("/run", json=body, headers=headers)) for _ in range(WAITING)]
        try:
            ends = time.monotonic() + SECONDS
            while len(bed.api.runs(NAMESPACE)["items"]) < WAITING:
                if time.monotonic() > ends or any(call.done() for call in calls):
                    raise RuntimeError("not all calls wait for a run of theirs")
                await asyncio.sleep(0.2)
            most = 0.0
            for _ in range(50):
                most = max(most, proc.megabytes(pid)[0])
                await asyncio.sleep(0.1)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
    return most
