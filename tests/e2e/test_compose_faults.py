"""Services that misbehave, files that are no files or change meanwhile, deletion during a start.

Each run ends soon, its message says what was wrong, and nothing of its stack stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from tests.support import services, stacked
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished, reason_is
from tests.support.sessions import session
from tests.support.swapping import exchange, exchanging

AGENT = "localhost/stromboli-test/workbench:1"
APP = f'app: {{image: "{AGENT}", depends_on: {{db: {{condition: CONDITION}}}}}}'
HUNG = """
services:
  {app}
  db: {{image: "redis:7", command: redis-server, healthcheck: {{test: echo hanging; sleep 1000, interval: 500ms,
    timeout: 700ms, retries: 2}}}}
"""
# The health check prints 100 MB, and succeeds; the service does so at once, and goes on.
LOUD = """
services:
  {app}
  db: {{image: "redis:7", command: sh -c "head -c 100000000 /dev/zero; exec sleep 1000", healthcheck: {{
    test: head -c 100000000 /dev/zero | tr '\\\\0' x, interval: 500ms, timeout: 20s, retries: 3}}}}
"""
CRASHING = """
services:
  {app}
  db: {{image: "redis:7", command: "sh -c 'echo the disk is full; exit 3'", expose: ["6379"]}}
"""
UNHEALTHY = """
services:
  {app}
  db: {{image: "redis:7", command: "sh -c 'echo no such database; exit 4'", healthcheck: {{test: redis-cli PING}}}}
"""
ENDLESS = """
services:
  {app}
  db: {{image: "redis:7", command: "sh -c 'echo still migrating; exec sleep 1000'"}}
"""
FAILING = """
services:
  {app}
  db: {{image: "redis:7", command: "sh -c 'echo the schema is wrong; exit 5'"}}
"""
NO_PROGRAM = """
services:
  {app}
  db: {{image: "redis:7", entrypoint: [/absent], command: []}}
"""
HEALTHY, COMPLETED, STARTED = "service_healthy", "service_completed_successfully", "service_started"
FAILURES = {
    "hung": (HUNG, HEALTHY, ["the service db is unhealthy", "hanging"]),
    "crashing": (CRASHING, STARTED, ["the service db ended 5 times in a row", "exit code 3", "the disk is full"]),
    "unhealthy": (UNHEALTHY, HEALTHY, ["the service db", "no such database"]),
    "endless": (ENDLESS, COMPLETED, ["the service db did not end in time", "still migrating"]),
    "failing": (FAILING, COMPLETED, ["the service db exited (5)", "the schema is wrong"]),
    "no-program": (NO_PROGRAM, STARTED, ["the service db cannot be started", "/absent"]),
}
FLIPS = 3
MOST = 150 * 1024 * 1024  # bytes of memory that the operator may have; 90 MB when idle


def written(text: str, condition: str) -> str:
    return text.format(app=APP.replace("CONDITION", condition))


@pytest.fixture(scope="module", autouse=True)
def images(podman_env: dict[str, str]) -> None:
    for name in ("workbench", "redis"):
        services.build(name, podman_env)


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs], light_spec: dict[str, Any]) -> Runs:
    """A namespace in which services have little time."""
    space = spaces("compose-faults", own=True)
    space.policy("light", **light_spec | {"compose": {"healthTimeout": "15s"}})
    return space


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    made = folder / "work/compose-faults"
    made.mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def ended(space: Runs) -> dict[str, Object]:
    """Runs in all of these stacks, and in the loud one, side by side."""
    files = {name: written(text, condition) for name, (text, condition, _) in FAILURES.items()}
    files["loud"] = written(LOUD, HEALTHY)
    specs = {name: stacked.spec(f"echo prompt-of-{name}", {"inline": text}) for name, text in files.items()}
    return space.run_all(specs, within=stacked.WITHIN)


@pytest.mark.parametrize("name", FAILURES)
def test_a_service_that_fails_is_named_with_its_last_lines(
    ended: dict[str, Object], standin: Standin, name: str
) -> None:
    said = condition(ended[name])
    assert said["reason"] == "ServiceFailed", said["message"]
    for part in FAILURES[name][2]:
        assert part in said["message"]
    assert "the agent was not started" in said["message"]
    assert not any(f"prompt-of-{name}" in str(request["last_user_text"]) for request in standin.requests())
    assert not ended[name]["status"].get("attempts")


def test_what_a_service_prints_costs_no_memory(ended: dict[str, Object], steady_operator: OperatorProcess) -> None:
    assert "prompt-of-loud" in stacked.answer(ended["loud"])
    lines = Path(f"/proc/{steady_operator.pid}/status").read_text().splitlines()
    [peak] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    assert peak < MOST, f"{peak / 1024**2:.0f} MiB"


def test_nothing_of_a_failed_stack_stays_when_its_run_is_over(ended: dict[str, Object], host: Host) -> None:
    for run in ended.values():
        uid = run["metadata"]["uid"]
        host.until(
            lambda uid=uid: all(part.startswith("/") for part in stacked.parts(host, uid)),  # type: ignore[misc]
            f"only folders are left of {uid}",
            within=30.0,
        )


def test_a_file_that_is_a_pipe_is_refused_at_once(space: Runs, place: Path) -> None:
    os.mkfifo(place / "pipe.yaml")
    reason, message = stacked.refusal(space, "pipe", stacked.spec("true", {"path": str(place / "pipe.yaml")}), 20)
    assert reason == "InvalidSpec"
    assert f"{place}/pipe.yaml is a named pipe, not a regular file" in message
    os.mkfifo(place / "pipe.env")
    text = f"services: {{app: {{image: {AGENT}, env_file: pipe.env}}}}"
    reason, message = stacked.refusal(space, "piped", stacked.spec("true", stacked.on_node(place, text, "p.yaml")), 20)
    assert reason == "InvalidSpec"
    assert "services.app.env_file" in message
    assert "is a named pipe" in message


@contextmanager
def rewriting(path: Path, texts: list[str]) -> Iterator[None]:
    """The file is written over and over, each time with the next of these texts."""
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for text in texts:
                path.write_text(text)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_file_that_changes_while_it_is_read_is_used_whole_or_not_at_all(space: Runs, place: Path) -> None:
    text = "services:\n  app:\n    image: {agent}\n    environment:\n      A: {word}\n      B: {word}\n"
    texts = [text.format(agent=AGENT, word=word) for word in ("one", "two")]
    given = stacked.spec("echo $A-$B", stacked.on_node(place, texts[0], "changing.yaml"))
    with rewriting(place / "changing.yaml", texts):
        runs = space.run_all({f"changing-{n}": given for n in range(4)}, within=stacked.WITHIN)
    for run in runs.values():
        said = condition(run)
        if said["reason"] == "Completed":
            assert stacked.answer(run).endswith(("one-one", "two-two"))
        else:
            assert "was changed while it was read: try again" in said["message"]


def test_a_bind_that_is_swapped_for_a_link_never_shows_another_folder(space: Runs, place: Path, host: Host) -> None:
    """Neither the agent nor a service ever sees /etc, whenever the link takes the place of the folder."""
    bound, link = place / "flip", place / "link"
    bound.mkdir()
    (bound / "inside").write_text("own\n")
    link.symlink_to("/etc")
    agent = f"""
services:
  app: {{image: "{AGENT}", volumes: ["./flip:/its", "./seen:/seen"]}}
"""
    service = f"""
services:
  app: {{image: "{AGENT}", depends_on: {{look: {{condition: service_completed_successfully}}}}}}
  look: {{image: "redis:7", command: sh -c "cp -r /its/. /seen/", volumes: ["./flip:/its", "./seen:/seen"]}}
"""
    files = {"agent": stacked.on_node(place, agent, "a.yaml"), "service": stacked.on_node(place, service, "s.yaml")}
    shell = {"agent": "cp -r /its/. /seen/", "service": "true"}
    given = {name: stacked.spec(shell[name], file) | {"timeout": "20s"} for name, file in files.items()}
    with exchanging(bound, link, pause=0.001):
        specs = {f"flip-{name}-{n}": spec for n in range(FLIPS) for name, spec in given.items()}
        runs = space.run_all(specs, within=stacked.WITHIN)
    for name, spec in given.items():
        for n in range(FLIPS):
            space.apply(f"flap-{name}-{n}", **spec)
            uid = space.get(f"flap-{name}-{n}")["metadata"]["uid"]
            while not host.containers(f"{naming.OWNER}={uid}"):  # from its creation to its start
                assert not finished(space.get(f"flap-{name}-{n}"))
            exchange(bound, link)
            runs |= space.ends([f"flap-{name}-{n}"])
            exchange(bound, link)
    assert not (place / "seen/passwd").exists(), {name: condition(run)["reason"] for name, run in runs.items()}
    (place / "seen/inside").unlink(missing_ok=True)
    for name, spec in given.items():
        stacked.go(space, f"flop-{name}", spec)
        assert (place / "seen/inside").read_text() == "own\n", "and what is not swapped is seen"
        (place / "seen/inside").unlink()


@pytest.mark.parametrize("named", [True, False], ids=["session", "run"])
def test_deleted_in_the_middle_of_a_start(space: Runs, host: Host, named: bool, standin: Standin) -> None:
    """Its one service never gets healthy; the stack is gone soon after the deletion."""
    text = """
services:
  {app}
  db: {{image: "redis:7", command: redis-server, healthcheck: {{test: "false", interval: 1s, retries: 1000}},
    volumes: ["rows:/data"]}}
volumes: {{rows: }}
"""
    name = f"early-{'session' if named else 'run'}"
    given = stacked.spec(f"echo {name}", {"inline": written(text, HEALTHY)}, name if named else None)
    space.apply(name, **given)
    seen = space.until(name, lambda obj: "db starting (0 of 1)" in condition(obj).get("message", ""), stacked.WITHIN)
    assert condition(seen)["reason"] == "StartingServices"
    uid = session(space, name)["metadata"]["uid"] if named else seen["metadata"]["uid"]
    assert any("-svc-" in part for part in stacked.parts(host, uid)), stacked.parts(host, uid)
    space.delete(name)
    if named:
        space.kubectl("-n", space.namespace, "delete", "agentsession", name)
    stacked.await_gone(host, uid, within=20.0)
    assert not any(name in str(request["last_user_text"]) for request in standin.requests())


def test_checks_that_never_return_do_not_pile_up(space: Runs, host: Host) -> None:
    hanging = "echo x >> /tmp/checks; sleep 1000"
    text = written(HUNG.replace("retries: 2", "retries: 1000").replace("echo hanging; sleep 1000", hanging), HEALTHY)
    space.apply("piles", **stacked.spec("true", {"inline": text}))
    uid = space.until("piles", reason_is("StartingServices"), stacked.WITHIN)["metadata"]["uid"]
    host.until(lambda: "db" in stacked.containers(host, uid), "the service has a container")
    database = stacked.containers(host, uid)["db"]["Id"]
    host.until(lambda: stacked.containers(host, uid)["db"]["State"] == "running", "the service runs")
    counted = ("exec", database, "sh", "-c", "cat /tmp/checks 2>/dev/null | wc -l")
    host.until(lambda: int(host.podman.run(*counted)) >= 4, "four checks have begun")
    commands = host.podman.run("top", database, "args").splitlines()
    assert sum("sleep 1000" in command for command in commands) <= 2, "one shell with its program"
    space.delete("piles")
    stacked.await_gone(host, uid)


def test_a_namespace_deleted_in_the_middle_of_a_start(spaces: Callable[..., Runs], host: Host, space: Runs) -> None:
    other = spaces("compose-early", light=True)
    text = written(HUNG.replace("retries: 2", "retries: 1000"), HEALTHY)
    other.apply("early", **stacked.spec("true", {"inline": text}, "early"))
    other.until("early", reason_is("StartingServices"), stacked.WITHIN)
    uid = session(other, "early")["metadata"]["uid"]
    other.kubectl("delete", "namespace", other.namespace)
    stacked.await_gone(host, uid)
