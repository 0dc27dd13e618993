"""How long it takes to read a large compose file: from its bytes to the typed stack and the services that are on.

The file is as large as the largest real ones that are known, and has what those have: anchors and merges, variables,
short and long forms, health checks.
"""

from __future__ import annotations

import time
from statistics import median

from stromboli.compose.document.load import Source, load
from stromboli.compose.files import NoFiles
from stromboli.compose.selection import select
from stromboli.compose.typed.read import typed
from tests.benchmarks.bed import Bed
from tests.benchmarks.numbers import Goal, fine, spread
from tests.benchmarks.result import Result, Table

LIMIT = 50.0  # milliseconds
SERVICES, SIZE = 57, 40_000
FOLDER = "/srv/project"
_HEAD = """\
name: many
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file, options: {max-size: "10m"}}
x-environment: &environment
  LOG_LEVEL: ${LOG_LEVEL:-info}
  TZ: UTC
services:
"""
_SERVICE = """\
  service-{n}:
    <<: *common
    image: ${{REGISTRY:-docker.io}}/library/python:${{TAG_{n}:-3.12}}
    command: ["python3", "-m", "http.server", "{port}"]
    working_dir: /workspace
    environment:
      <<: *environment
      DATABASE_URL: postgresql://u:${{DB_PASSWORD:-secret}}@service-0/shop
      PORT: "{port}"
    volumes:
      - ./src/{n}:/workspace
      - data-{n}:/data
      - {{type: tmpfs, target: /tmp}}
    ports: ["127.0.0.1:{port}:{port}"]
    networks: [front, back]
    healthcheck:
      test: [CMD-SHELL, "python3 -c 'import socket; socket.create_connection((\\"localhost\\", {port}))'"]
      interval: 10s
      timeout: 3s
      retries: 5
"""
_DEPENDS = """\
    depends_on:
      service-{before}: {{condition: service_healthy}}
"""


def text() -> str:
    """The file, filled up with a comment to its size."""
    parts = [_HEAD]
    for n in range(SERVICES):
        parts.append(_SERVICE.format(n=n, port=8000 + n))
        parts += [_DEPENDS.format(before=n - 1)] if n else []
    parts.append("networks: {front: , back: {internal: true}}\nvolumes:\n")
    parts += [f"  data-{n}:\n" for n in range(SERVICES)]
    made = "".join(parts)
    return made + "".join(f"# {'-' * 77}\n" for _ in range((SIZE - len(made)) // 80))


def measure(bed: Bed, rounds: int) -> Result:
    """Read it `rounds` times."""
    data = text().encode()
    read(data)  # not measured: the models are built at their first use
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert read(data) == SERVICES
        taken.append(time.perf_counter() - began)
    middle = median(taken)
    rows = [("", "median", "min", "max"), ("bytes to typed stack", *map(fine, (middle, min(taken), max(taken))))]
    title = f"A compose file of {SERVICES} services and {len(data) / 1000:.0f} KB, read {rounds} times"
    return Result(
        name="compose-read",
        tables=[Table(title, rows)],
        goals=[Goal("reading a large compose file, ms", middle * 1000, LIMIT, "at most")],
        data={"seconds": spread(taken), "bytes": len(data)},
    )


def read(data: bytes) -> int:
    """The number of its services that are on."""
    stack = typed(load([Source("docker-compose.yml", FOLDER, data)], {}, NoFiles()), NoFiles())
    return len(select(stack, (), "service-0").services)
