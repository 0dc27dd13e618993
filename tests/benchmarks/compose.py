"""A stack of an application, PostgreSQL and Redis with health checks, until the application starts: with docker-compose
2 on the same Podman, and with a run whose agent takes the application's place.

Both have the same file, whose database is initialised already. Podman says when the application's container started.
docker-compose relies on Podman's timers for health checks, which need systemd; here they are driven for it as the
operator drives its own: one interval after the container's start, and then an interval after each.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx2 as httpx

from stromboli import naming
from stromboli.errors import LocalFailure
from tests.benchmarks.bed import Bed, prompt, say
from tests.benchmarks.numbers import Goal, ms, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch
from tests.support import docker_compose, services
from tests.support.wire import session_of

LIMIT = 1.0
CLI = "instant"  # its time does not count: the measurement ends when its container starts
COMPOSE, STROMBOLI = "docker-compose up", "run with the stack"
INTERVAL = 1.0  # of the health checks, in seconds
PATIENCE = 60.0
LOOK = 0.02
SERVICE, PROJECT = "com.docker.compose.service", "com.docker.compose.project"
NAME = "bench"
FILE = "docker-compose.yml"
_TEXT = """\
services:
  app:
    image: docker.io/library/python:3.12
    command: sleep infinity
    init: true
    depends_on:
      db: {{condition: service_healthy}}
      cache: {{condition: service_healthy}}
  db:
    image: docker.io/library/postgres:16
    environment: {{POSTGRES_PASSWORD: devpass}}
    volumes: ["./data:/var/lib/postgresql/data"]
    healthcheck: {{test: [CMD, pg_isready, --host=127.0.0.1, --username=postgres], interval: {interval}s, retries: 30}}
  cache:
    image: docker.io/library/redis:7
    healthcheck: {{test: [CMD, redis-cli, ping], interval: {interval}s, retries: 30}}
networks:
  default: {{internal: true}}
"""
_numbers = count(1)


def measure(bed: Bed, pairs: int) -> Result:
    """Measure `pairs` pairs; without docker-compose, the run alone."""
    file = written(bed)
    compose = _Compose.found(bed, file)
    with bed.operator(), Watch(bed.api, CLI) as watch:
        sides: dict[str, Callable[[], float]] = {STROMBOLI: lambda: _by_stromboli(bed, watch, file)}
        if isinstance(compose, _Compose):
            sides = {COMPOSE: compose.once, **sides}
        samples: dict[str, list[float]] = {side: [] for side in sides}
        for once in sides.values():  # warm-up, not measured; and the database is initialised
            once()
        for number in range(pairs):
            for side, once in sides.items():
                samples[side].append(once())
            said = ", ".join(f"{side} {ms(taken[-1])}" for side, taken in samples.items())
            say(f"pair {number + 1} of {pairs}: {said}")
    middle = {side: median(taken) for side, taken in samples.items()}
    rows: list[tuple[str, ...]] = [("", "median", "min", "max")]
    rows += [(side, *map(ms, (middle[side], min(taken), max(taken)))) for side, taken in samples.items()]
    title = f"A stack with health checks, from nothing to the start of its application, {pairs} pairs"
    if not isinstance(compose, _Compose):
        title += f"; {compose}"
    goals = []
    if COMPOSE in middle:
        goals = [
            Goal("stack from nothing: run / docker-compose", middle[STROMBOLI] / middle[COMPOSE], LIMIT, "at most")
        ]
    return Result(
        name="compose",
        tables=[Table(title, rows)],
        goals=goals,
        data={"seconds": {side: spread(taken) for side, taken in samples.items()}},
    )


def written(bed: Bed) -> Path:
    """The compose file, in a folder that the policies allow, with the images that it names on the node."""
    for name in ("postgres", "redis"):
        services.build(name, bed.podman.env)
    folder = bed.work / "stack"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(_TEXT.format(interval=int(INTERVAL)))
    return file


def environment(file: Path) -> dict[str, Any]:
    """The part of a run's spec that names the stack."""
    return {"environment": {"type": "compose", "path": str(file), "service": "app"}}


def gone(bed: Bed, mark: str) -> None:
    """Wait until Podman has no container, volume or network whose name has `mark` in it."""
    limit = time.monotonic() + PATIENCE
    with bed.podman_api() as client:
        while left := [name for name in _names(client) if mark in name]:
            if time.monotonic() > limit:
                raise TimeoutError(f"{left} are left after {PATIENCE:.0f} s")
            time.sleep(LOOK)
    bed.quiet()


def _names(client: httpx.Client) -> Iterator[str]:
    for container in client.get("containers/json?all=true").json() or []:
        yield container["Names"][0]
    for volume in client.get("volumes/json").json() or []:
        yield volume["Name"]
    for network in client.get("networks/json").json() or []:
        yield network["name"]


def _by_stromboli(bed: Bed, watch: Watch, file: Path) -> float:
    name, since = f"stack-{next(_numbers)}", time.time()
    bed.api.create_run(watch.namespace, name, {"prompt": prompt(), **environment(file)})
    uid = session_of(watch.finished(name).obj)
    started = _started(bed, since, {naming.ROLE: naming.AGENT, naming.OWNER: uid})
    gone(bed, uid)
    return started - since


class _Compose:
    """docker-compose with the file."""

    def __init__(self, program: Path, bed: Bed, file: Path) -> None:
        self._command = [str(program), "--file", str(file), "--project-name", NAME]
        self._environ = {**bed.podman.env, "DOCKER_HOST": f"unix://{bed.podman.socket}"}
        self._bed = bed

    @classmethod
    def found(cls, bed: Bed, file: Path) -> _Compose | LocalFailure:
        try:
            return cls(docker_compose.program(), bed, file)
        except LocalFailure as failure:
            say(str(failure))
            return failure

    def once(self) -> float:
        with _driven(self._bed):
            since = time.time()
            self._run("up", "--detach", "--pull=never")
        started = _started(self._bed, since, {SERVICE: "app"})
        self._run("down", "--timeout=5")
        gone(self._bed, NAME)
        return started - since

    def _run(self, *arguments: str) -> None:
        command = [*self._command, *arguments]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            raise RuntimeError(f"docker-compose {arguments[0]} → {done.returncode}: {done.stderr[-1000:]}")


def _started(bed: Bed, since: float, labels: dict[str, str]) -> float:
    """When a container with these labels last started after `since`, by Podman's own record of events."""
    filters = {"event": ["start"], "label": [f"{key}={value}" for key, value in labels.items()]}
    query = {"stream": "false", "since": str(int(since)), "filters": json.dumps(filters)}
    with bed.podman_api() as client:
        lines = client.get("events", params=query).raise_for_status().text.splitlines()
    times: list[float] = [event["timeNano"] / 1e9 for event in map(json.loads, lines)]
    if not times:
        raise RuntimeError(f"Podman has not started a container with {labels}")
    return max(times)


@contextmanager
def _driven(bed: Bed) -> Iterator[None]:
    """Run the health checks of docker-compose's containers that are started in this block."""
    over = threading.Event()
    follower = threading.Thread(target=_follow, args=(bed, over), daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def _follow(bed: Bed, over: threading.Event) -> None:
    probes: dict[str, threading.Thread] = {}
    query = {
        "since": str(int(time.time())),
        "filters": json.dumps({"event": ["start"], "label": [f"{PROJECT}={NAME}"]}),
    }
    with bed.podman_api() as client:
        while not over.is_set():
            # A silence ends the stream, so that `over` is seen; what was missed is in the next one.
            with (
                contextlib.suppress(httpx.ReadTimeout),
                client.stream("GET", "events", params=query, timeout=1) as news,
            ):
                for event in map(json.loads, news.iter_lines()):
                    container, labels = event["Actor"]["ID"], event["Actor"]["Attributes"]
                    if labels[SERVICE] in ("db", "cache") and container not in probes:
                        first = event["timeNano"] / 1e9 + INTERVAL
                        probes[container] = threading.Thread(target=_probe, args=(bed, container, first, over))
                        probes[container].start()
    for probe in probes.values():
        probe.join()


def _probe(bed: Bed, container: str, due: float, over: threading.Event) -> None:
    with bed.podman_api() as client, contextlib.suppress(httpx.HTTPError):  # it may be removed at any time
        while not over.wait(max(due - time.time(), 0)):
            client.get(f"containers/{container}/healthcheck")
            due = time.time() + INTERVAL
