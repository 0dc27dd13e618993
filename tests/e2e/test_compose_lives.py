"""A stack over several runs of its session: killed, stopped when idle, with Podman restarted, with a changed file.

Its data is there in each run that follows, and what has not changed goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from tests.support import services, stacked
from tests.support.host import Host
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, completed, condition, finished
from tests.support.sessions import idle, session

AGENT = "localhost/stromboli-test/workbench:1"
IDLE = 2.0  # seconds, the idle TTL of the second namespace
CACHE = "redis-server --appendonly yes"
READY = "pg_isready --host 127.0.0.1"  # after a crash, it listens before it lets anybody in
PSQL = "PGPASSWORD=pw psql -h db -U postgres -At"


@pytest.fixture(scope="module", autouse=True)
def images(podman_env: dict[str, str]) -> None:
    for name in ("workbench", "postgres", "redis"):
        services.build(name, podman_env)


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("compose-lives", light=True)


@pytest.fixture(scope="module")
def brief(spaces: Callable[..., Runs], light_spec: dict[str, Any]) -> Runs:
    """A namespace whose stacks are soon stopped."""
    space = spaces("compose-brief", own=True)
    space.policy("light", **light_spec | {"compose": {"idleTTL": f"{IDLE:.0f}s"}})
    return space


@pytest.fixture
def service(isolated_podman: IsolatedPodman) -> Iterator[IsolatedPodman]:
    """The Podman service; it is restarted after the test if it is down."""
    yield isolated_podman
    isolated_podman.start_service()


def entries(space: Runs, name: str) -> dict[str, Object]:
    return {one["name"]: one for one in session(space, name)["status"].get("services", [])}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_database_killed_meanwhile_is_back_with_its_data_before_the_next_prompt(space: Runs, host: Host) -> None:
    """The next run comes at once after its end, when nobody may have noticed it yet.

    A database takes its time to end after SIGTERM. A run that came meanwhile might find it running, and a service that
    ends with 0 during a run is not started again.
    """
    file = f"""
services:
  app: {{image: "{AGENT}", depends_on: [db]}}
  db: {{image: "postgres:16", environment: {{POSTGRES_PASSWORD: pw}}, healthcheck: {{test: {READY}, interval: 500ms}}}}
"""
    create = f"""{PSQL} -c "CREATE TABLE kept AS SELECT 'lava' AS word" """
    stacked.go(space, "killed-1", stacked.spec(create, {"inline": file}, "killed"))
    uid = idle(space, "killed")["metadata"]["uid"]
    ways = (("kill",), ("kill",), ("stop",), ("kill", "--signal", "TERM"), ("rm", "--force", "--time", "0"))
    for again, way in enumerate(ways, 2):
        database = stacked.containers(host, uid)["db"]["Id"]
        host.podman.run(*way, database)
        if "TERM" in way:
            host.podman.run("wait", database)
        read = stacked.spec(f'{PSQL} -c "TABLE kept"', {"inline": file}, "killed")
        assert stacked.go(space, f"killed-{again}", read).endswith("lava"), way
        assert (stacked.containers(host, uid)["db"]["Id"] == database) == (way[0] != "rm"), "the same, if it is there"
        idle(space, "killed")
        if way == ("kill",):
            host.until(lambda n=again - 1: entries(space, "killed")["db"]["restarts"] == n, "it is counted")  # type: ignore[misc]
    events = [event for n in range(1, 4) for event in stacked.told(space, f"killed-{n}", "ServiceRestarted")]
    assert all("the service db had ended with exit code 137 and was started again" in event for event in events)
    assert events


def test_podman_restarted_under_a_running_stack(space: Runs, host: Host, service: IsolatedPodman) -> None:
    file = f"""
services:
  app: {{image: "{AGENT}", depends_on: [db]}}
  db: {{image: "redis:7", command: {CACHE}, healthcheck: {{test: redis-cli PING, interval: 500ms}}}}
"""
    given = {"inline": file}
    stacked.go(space, "podman-1", stacked.spec("redis-cli -h db SET word lava", given, "podman"))
    uid = idle(space, "podman")["metadata"]["uid"]
    before = entries(space, "podman")["db"]
    service.kill_service()
    service.start_service()
    assert stacked.go(space, "podman-2", stacked.spec("redis-cli -h db GET word", given, "podman")).endswith("lava")
    idle(space, "podman")
    assert entries(space, "podman")["db"]["startedAt"] == before["startedAt"], "the database went on"
    database = stacked.containers(host, uid)["db"]["Id"]
    service.kill_service()
    host.podman.run("kill", database)
    service.start_service()
    assert stacked.go(space, "podman-3", stacked.spec("redis-cli -h db GET word", given, "podman")).endswith("lava")


def test_podman_restarted_while_a_stack_starts(space: Runs, host: Host, service: IsolatedPodman) -> None:
    file = f"""
services:
  app: {{image: "{AGENT}", depends_on: [db, cache]}}
  db: {{image: "redis:7", command: sh -c "sleep 2; exec docker-entrypoint.sh {CACHE}"}}
  cache: {{image: "redis:7", command: {CACHE}, depends_on: [db]}}
"""
    shell = "redis-cli -h db INCR times; redis-cli -h cache INCR times"
    space.apply("early", **stacked.spec(shell, {"inline": file}, "early"))
    space.until("early", lambda obj: "db starting" in condition(obj).get("message", ""), stacked.WITHIN)
    service.kill_service()
    service.start_service()
    done = space.until("early", finished, stacked.WITHIN)
    assert stacked.answer(done).partition(": ")[2].split() == ["1", "1"]
    assert set(stacked.containers(host, idle(space, "early")["metadata"]["uid"])) == {"db", "cache"}


def test_an_idle_stack_stops_and_starts_with_its_data(brief: Runs, host: Host) -> None:
    """The time counts from the end of the last run, and never while one is going."""
    file = f"""
services:
  app: {{image: "{AGENT}", depends_on: [db]}}
  db: {{image: "redis:7", command: {CACHE}}}
"""
    given = {"inline": file}
    shell = f"redis-cli -h db SET word lava; sleep {2 * IDLE}; redis-cli -h db INFO server | grep uptime_in_seconds"
    brief.apply("idle-1", **stacked.spec(shell, given, "idle"))
    done = brief.until("idle-1", finished, stacked.WITHIN)
    assert int(stacked.answer(done).strip().rpartition(":")[2]) >= 2 * IDLE, "it went on during the run"
    uid = idle(brief, "idle")["metadata"]["uid"]
    host.until(lambda: entries(brief, "idle")["db"]["state"] == "Stopped", "the stack is stopped", 4 * IDLE + 10)
    database = stacked.containers(host, uid)["db"]["Id"]
    host.until(  # "stopped" until Podman's own clean-up has run
        lambda: stacked.inspected(host, database)["State"]["Status"] == "exited", "its container has ended"
    )
    stopped = stacked.inspected(host, database)["State"]
    rested = (moment(stopped["FinishedAt"][:26] + "+00:00") - moment(done["status"]["completionTime"])).total_seconds()
    assert rested >= IDLE - 1, "times of Kubernetes are whole seconds"
    host.until(lambda: "StackStopped" in stacked.reasons(brief, "idle"), "an event says so")
    assert stacked.go(brief, "idle-2", stacked.spec("redis-cli -h db GET word", given, "idle")).endswith("lava")
    assert stacked.containers(host, uid)["db"]["Id"] == database
    assert entries(brief, "idle")["db"]["ready"] is True


def test_a_changed_file_replaces_what_has_changed(space: Runs, host: Host, folder: Path) -> None:
    file = """
services:
  app: {{image: "{agent}", environment: {{WORD: "{app}"}}, depends_on: [db, cache]}}
  db: {{image: "redis:7", command: "{command}", volumes: ["rows:/data"]}}
  cache: {{image: "redis:7", command: "{command}", environment: {{WORD: "{cache}"}}, volumes: ["more:/data"]}}
{more}
volumes: {{rows: , more: }}
"""
    fields = {"agent": AGENT, "command": CACHE}
    extra = '  extra: {image: "redis:7", command: redis-server}'
    place = folder / "work/compose-changed"
    hooks = {"lifecycle": {"onCreateCommand": ["redis-cli -h db INCR created"]}}

    def go(name: str, shell: str, app: str, cache: str, more: str = "") -> str:
        given = stacked.on_node(place, file.format(**fields, app=app, cache=cache, more=more))
        said = stacked.go(space, name, stacked.spec(shell, given, "changed", **hooks))
        idle(space, "changed")
        return said.partition(": ")[2]

    keep = "redis-cli -h db SET word rows; redis-cli -h cache SET word more; touch /kept; redis-cli -h db GET created"
    assert go("changed-1", keep, "one", "one", extra).split() == ["OK", "OK", "1"]
    uid = session(space, "changed")["metadata"]["uid"]
    first = stacked.containers(host, uid)
    assert set(first) == {"db", "cache", "extra"}

    look = "ls /kept; for s in db cache; do redis-cli -h $s GET word; done; redis-cli -h db GET created; echo $WORD"
    assert go("changed-2", look, "one", "two").split() == ["/kept", "rows", "more", "1", "one"]
    second = stacked.containers(host, uid)
    assert set(second) == {"db", "cache"}
    assert second["db"]["Id"] == first["db"]["Id"]
    assert second["cache"]["Id"] != first["cache"]["Id"]
    [why] = stacked.told(space, "changed-2", "ServiceReplaced")
    assert why.startswith("the service cache was replaced: ")
    assert "env" in why

    said = go("changed-3", look, "two", "two")
    assert "No such file" in said, "the agent's container is a new one"
    assert said.split()[-4:] == ["rows", "more", "2", "two"], "and its hooks have run once more"
    third = stacked.containers(host, uid)
    assert {name: one["Id"] for name, one in third.items()} == {name: one["Id"] for name, one in second.items()}
    assert "ContainerRebuilt" in stacked.reasons(space, "changed-3")
    assert go("changed-4", look.removeprefix("ls /kept; "), "two", "two").split() == ["rows", "more", "2", "two"]


def test_a_database_is_replaced_under_the_network_namespace_that_it_shares(
    space: Runs, host: Host, folder: Path
) -> None:
    file = """
services:
  app: {{image: "{agent}", network_mode: "service:db"}}
  db: {{image: "redis:7", command: "{command}", environment: {{WORD: "{word}"}}, volumes: ["rows:/data"]}}
volumes: {{rows: }}
"""
    fields = {"agent": AGENT, "command": CACHE}
    place = folder / "work/compose-shared"

    def given(shell: str, word: str) -> dict[str, Any]:
        return stacked.spec(shell, stacked.on_node(place, file.format(**fields, word=word)), "shared")

    stacked.go(space, "shared-1", given("redis-cli SET word lava; touch /kept", "old"))
    uid = idle(space, "shared")["metadata"]["uid"]
    before = stacked.containers(host, uid)["db"]
    agent = host.podman.run("container", "inspect", "--format", "{{.Id}}", naming.agent(uid).name)
    look = "redis-cli GET word; ls /kept"
    said = stacked.go(space, "shared-2", given(f"{look}; redis-cli -h db PING; redis-cli -h localhost PING", "new"))
    assert said.partition(": ")[2].split() == ["lava", "/kept", "PONG", "PONG"]
    assert stacked.containers(host, uid)["db"]["Id"] != before["Id"]
    assert host.podman.run("container", "inspect", "--format", "{{.Id}}", naming.agent(uid).name) == agent
    idle(space, "shared")
    host.podman.run("kill", stacked.containers(host, uid)["db"]["Id"])
    assert stacked.go(space, "shared-3", given("redis-cli GET word; ls /kept", "new")).partition(": ")[2].split() == [
        "lava",
        "/kept",
    ]


def test_hooks_run_in_the_service_once_what_it_depends_on_is_ready(space: Runs) -> None:
    file = f"""
services:
  app: {{image: "{AGENT}", working_dir: /srv, environment: {{WORD: lava}}, depends_on: [db]}}
  db:
    image: redis:7
    command: sh -c "sleep 1.5; exec docker-entrypoint.sh redis-server --appendonly yes"
"""
    hooks = {
        "onCreateCommand": ["redis-cli -h db INCR created; echo $WORD; pwd"],
        "postStart": ["redis-cli -h db INCR begun"],
    }
    given = stacked.spec("redis-cli -h db MGET created begun", {"inline": file}, "hooks", lifecycle=hooks)
    for n in (1, 2):
        done = space.run(f"hooks-{n}", within=stacked.WITHIN, **given)
        assert stacked.answer(done).partition(": ")[2].split() == ["1", str(n)]
        steps = {step["hook"]: step["tail"].split() for step in done["status"]["steps"]}
        assert steps.get("onCreateCommand") == (["1", "lava", "/srv"] if n == 1 else None)
        completed(done)
        idle(space, "hooks")


def test_nothing_is_left_of_them(space: Runs, brief: Runs, host: Host) -> None:
    names = ((space, each) for each in ("killed", "podman", "early", "changed", "shared", "hooks"))
    uids = [session(of, name)["metadata"]["uid"] for of, name in (*names, (brief, "idle"))]
    for of in (space, brief):
        of.kubectl("-n", of.namespace, "delete", "agentruns,agentsessions", "--all")
    for uid in uids:
        stacked.await_gone(host, uid)
