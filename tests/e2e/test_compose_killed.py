"""The operator is killed at random moments of stacks' lives: afterwards each is complete or gone, nothing is twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stromboli.kube.kinds import AgentRun, AgentSession
from tests.support import services, stacked
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, condition, finished
from tests.support.sessions import idle

SEED = 13
STACKS = 5
EACH = 6  # kills of a stack's life
AGENT = "localhost/stromboli-test/workbench:1"
FILE = """
services:
  app: {{image: "{agent}", depends_on: {{db: {{condition: service_healthy}}, once: {{condition: {completed}}}}}}}
  db:
    image: redis:7
    command: redis-server --appendonly yes
    healthcheck: {{test: redis-cli PING, interval: 500ms, retries: 50}}
    volumes: ["rows:/data"]
  cache: {{image: "redis:7", command: redis-server --save "", environment: {{WORD: "{word}"}}}}
  once:
    image: redis:7
    command: redis-cli -h db INCR once
    depends_on: {{db: {{condition: service_healthy}}}}
volumes: {{rows: }}
"""
HOOKS = {"onCreateCommand": ["redis-cli -h db INCR created"]}
READ = "redis-cli -h db MGET created once; redis-cli -h cache PING"


def test_what_ends_while_no_operator_is_there_is_not_repeated_and_what_crashes_is_started(
    new_operator: Callable[[], OperatorProcess], light_runs: Runs, podman_env: dict[str, str], host: Host
) -> None:
    for name in ("workbench", "redis"):
        services.build(name, podman_env)
    file = f"""
services:
  app: {{image: "{AGENT}", depends_on: {{once: {{condition: service_completed_successfully}}}}}}
  db: {{image: "redis:7", command: redis-server --appendonly yes}}
  cache: {{image: "redis:7", command: redis-server --save ""}}
  once: {{image: "redis:7", command: sh -c "sleep 2; redis-cli -h db INCR once", depends_on: [db]}}
"""
    given = stacked.spec("redis-cli -h db GET once", {"inline": file}, "once")

    def uid() -> str:
        return str(dict(light_runs.client.get(AgentSession, "once", namespace=light_runs.namespace))["metadata"]["uid"])

    operator = new_operator()
    operator.start()
    light_runs.apply("once-1", **given)
    light_runs.until("once-1", lambda obj: "once starting (2 of 3)" in condition(obj).get("message", ""))
    operator.kill()
    service = stacked.containers(host, uid())
    assert host.podman.run("wait", service["once"]["Id"]) == "0"
    with operator:
        assert stacked.answer(light_runs.until("once-1", finished, stacked.WITHIN)).endswith(": 1")
        idle(light_runs, "once")
        operator.kill()
        host.podman.run("kill", service["db"]["Id"])
        operator.start()
        host.until(lambda: stacked.containers(host, uid())["db"]["State"] == "running", "the database is back")
        assert stacked.go(light_runs, "once-2", given).endswith(": 1")
        assert {name: one["Id"] for name, one in stacked.containers(host, uid()).items()} == {
            name: one["Id"] for name, one in service.items()
        }


def test_killed_at_30_random_moments_of_stacks_lives(
    new_operator: Callable[[], OperatorProcess],
    light_runs: Runs,
    standin: Standin,
    podman_env: dict[str, str],
    host: Host,
    folder: Path,
) -> None:
    for name in ("workbench", "redis"):
        services.build(name, podman_env)
    chance = random.Random(SEED)
    moments: list[str] = []
    operator = new_operator()

    def killed(longest: float, what: str) -> None:
        moment = chance.uniform(0, longest)
        moments.append(f"{what}: {moment:.2f}")
        time.sleep(moment)  # the random delay is the test
        operator.kill()

    def apply(stack: int, number: int, word: str) -> str:
        text = FILE.format(agent=AGENT, word=word, completed="service_completed_successfully")
        environment = stacked.on_node(folder / f"work/compose-killed/{stack}", text)
        name = f"in-{stack}-{number}"
        light_runs.apply(name, **specified(name, stack, environment))
        return name

    deleted = []
    for stack in range(STACKS):
        first = apply(stack, 1, "one")
        operator.start(wait=stack % 2 == 0)
        killed(1.0, f"{stack}, the start")
        operator.start()
        killed(2.0, f"{stack}, the start again")
        operator.start()
        light_runs.until(first, lambda obj: bool(obj.get("status", {}).get("attempts")), stacked.WITHIN)
        killed(1.0, f"{stack}, the agent at work")
        operator.start()
        done = light_runs.until(first, finished, stacked.WITHIN)
        killed(0.5, f"{stack}, between two runs")
        assert stacked.answer(done).partition(": ")[2].split() == ["1", "1", "PONG"]
        second = apply(stack, 2, "two")
        operator.start()
        killed(1.5, f"{stack}, a changed file")
        operator.start(wait=stack % 2 == 0)
        if stack < STACKS - 1:
            if stack % 2 == 0:
                light_runs.until(second, finished, stacked.WITHIN)
            session = dict(light_runs.client.get(AgentSession, f"s-{stack}", namespace=light_runs.namespace))
            deleted += [session["metadata"]["uid"]]
            for kind, name in ((AgentRun, first), (AgentRun, second), (AgentSession, f"s-{stack}")):
                light_runs.client.delete(kind, name, namespace=light_runs.namespace)
        killed(0.6, f"{stack}, the deletion")
    assert len(moments) == STACKS * EACH
    print(f"seed {SEED}; killed after {'; '.join(moments)} seconds")

    with operator:
        last = STACKS - 1
        done = light_runs.until(f"in-{last}-2", finished, stacked.WITHIN)
        # The changed service is another one; hooks and the one-shot are not repeated.
        assert stacked.answer(done).partition(": ")[2].split() == ["1", "1", "PONG"]
        entries = {one["name"]: one for one in idle(light_runs, f"s-{last}")["status"]["services"]}
        assert {name: one["ready"] for name, one in entries.items()} == dict.fromkeys(("db", "cache", "once"), True)
        kept = idle(light_runs, f"s-{last}")["metadata"]["uid"]
        assert set(stacked.containers(host, kept)) == {"db", "cache", "once"}
        for uid in deleted:
            stacked.await_gone(host, uid)
        texts = [str(request["last_user_text"]) for request in standin.requests()]
        sent = {f"in-{s}-{n}": sum(f"in-{s}-{n} " in text for text in texts) for s in range(STACKS) for n in (1, 2)}
        assert {name: count for name, count in sent.items() if count > 1} == {}
        assert {sent[f"in-{s}-1"] for s in range(STACKS)} == {1}
        assert sent[f"in-{last}-2"] == 1
        light_runs.kubectl("-n", light_runs.namespace, "delete", "agentruns,agentsessions", "--all")
        stacked.await_gone(host, kept)


def specified(name: str, stack: int, environment: dict[str, Any]) -> dict[str, Any]:
    spec = stacked.spec(READ, environment, f"s-{stack}", lifecycle=HOOKS)
    return spec | {"prompt": f"{name} SLEEP{{0.5}} {spec['prompt']}"}
