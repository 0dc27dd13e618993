"""Any value at any place: it is accepted, or refused by a message that is short and harmless to a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from stromboli.compose.document.load import Document
from stromboli.compose.document.node import Date, Node, Value
from stromboli.compose.problem import Mark, Path
from stromboli.compose.selection import select
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem
from stromboli.plan.compose_rules import ComposeRules, Switch
from stromboli.plan.limits import Limits
from stromboli.plan.stack import rules
from tests.support import composed

MARK = Mark("compose.yaml", 1)
TEXT = """
name: whole
services:
  app:
    image: debian:12
    command: [sh, -c, x]
    depends_on: {db: {condition: service_started, required: true, restart: false}}
    links: [db]
    env_file: [e]
    environment: {A: b}
    networks: {n: {aliases: [other]}}
    secrets: [{source: s, target: t, mode: 0400, uid: "1", gid: "1"}]
    deploy: {resources: {limits: {cpus: "1", memory: 1g, pids: 9}, reservations: {memory: 1g}}, replicas: 1}
    security_opt: [no-new-privileges]
    cap_add: [CHOWN]
    labels: {a: b}
    profiles: []
    user: "1:1"
    working_dir: /w
    hostname: h
    container_name: c1
    tty: true
    ipc: private
    stop_signal: TERM
    stop_grace_period: 1s
    platform: linux/amd64
    pull_policy: always
    restart: always
    logging: {driver: none, options: {a: b}}
  db:
    build: {context: ., dockerfile: D, args: {A: b}, target: t, cache_from: [x], tags: [localhost/x]}
    expose: [1]
    ports: ["1:2"]
    volumes: [./a:/a, vol:/v, {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
    tmpfs: [/s]
    extra_hosts: ["a:1.2.3.4"]
    ulimits: {nofile: {soft: 1, hard: 2}}
    healthcheck: {test: [CMD, x], interval: 1s, timeout: 1s, retries: 1, start_period: 1s, start_interval: 1s}
    mem_limit: 1g
    memswap_limit: 2g
    mem_reservation: 1g
    cpus: 1
    pids_limit: 1
    shm_size: 1m
    init: true
networks: {n: {internal: true, driver: bridge, ipam: {config: [{subnet: x}]}, labels: {a: b}}}
volumes: {vol: {name: x, labels: {a: b}}}
secrets: {s: {file: ./s}}
"""
ODD: tuple[Value, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "0",
    "-1",
    "../..",
    "/",
    "/proc/x",
    "a\nb",
    "\0",
    "\u202e",
    "x" * 70_000,
    Date("2020-01-01"),
    (),
    {},
    (Node("x", MARK), Node(1, MARK), Node(None, MARK), Node({"a": Node(1, MARK)}, MARK)),
    {"a": Node("b", MARK), "x" * 300: Node(None, MARK), "\u202e": Node((), MARK)},
)


def test_odd_values_everywhere() -> None:
    files = composed.SomeFiles({f"{composed.FOLDER}/e": "A=1"})
    document = composed.document(TEXT, files={f"{composed.FOLDER}/e": "A=1"})
    judged(document, files)
    accepted, messages = 0, list[str]()
    for place, value in itertools.product(places(document.root), ODD):
        changed = Document(replaced(document.root, place, value), document.directory, document.variables)
        try:
            judged(changed, files)
            accepted += 1
        except ComposeProblem as problem:
            messages.append(str(problem))
    assert [said for said in messages if len(said) > 1_500 or {"\u202e", "\n"} & set(said)] == []
    assert accepted > 100


def judged(document: Document, files: composed.SomeFiles) -> None:
    stack = typed(document, files)
    rules.judge(stack, select(stack, (), "app"), ComposeRules(build=Switch("compose.allowBuild", on=True)), Limits())


def places(node: Node, path: Path = ()) -> Iterator[Path]:
    """Every place below the top, but for the top itself and the services as a whole, which are known to be mappings."""
    if path not in ((), ("services",)):
        yield path
    for part, child in node.children():
        yield from places(child, (*path, part))


def replaced(node: Node, path: Path, value: Value) -> Node:
    if not path:
        return Node(value, node.mark, node.item)
    inside = {part: replaced(child, path[1:], value) if part == path[0] else child for part, child in node.children()}
    if isinstance(node.value, Mapping):
        return Node({str(part): child for part, child in inside.items()}, node.mark, node.item)
    return Node(tuple(inside.values()), node.mark, node.item)
