"""What compose files say is seen in the containers: one run for each feature, all side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stromboli.plan.redaction import MASK
from tests.support import services, stacked
from tests.support.host import Host
from tests.support.runs import Object, Runs

AGENT = "localhost/stromboli-test/workbench:1"

USER_BY_NAME = f"""
services:
  app: {{image: "{AGENT}", user: agent, working_dir: /tmp}}
  cache: {{image: "redis:7", user: "redis:redis", command: redis-server --save ""}}
"""
SECRETS = f"""
services:
  app:
    image: {AGENT}
    secrets: [plain, {{source: key, target: deep/key, mode: 0400}}]
    volumes: ["said:/said:ro"]
    depends_on: {{look: {{condition: service_completed_successfully}}}}
  look:
    image: redis:7
    user: redis
    secrets: [{{source: key, target: /etc/its-key, mode: 0440, uid: "999", gid: "999"}}]
    command: sh -c "stat -c '%a %u %g' /etc/its-key > /said/it; cat /etc/its-key >> /said/it"
    volumes: ["said:/said"]
secrets:
  plain: {{file: ./plain.txt}}
  key: {{file: ./key.txt}}
volumes: {{said: }}
"""
PROFILES = f"""
services:
  app: {{image: "{AGENT}"}}
  on: {{image: "redis:7", profiles: [wanted], command: redis-server --save ""}}
  off: {{image: "redis:7", profiles: [unwanted], command: redis-server --save ""}}
"""
BASE = f"""
services:
  app: {{image: "{AGENT}", environment: {{ONE: base, TWO: base}}, depends_on: [cache]}}
  cache: {{image: "redis:7", command: redis-server --save "" --port 1111}}
"""
OVERLAY = """
services:
  app: {environment: {TWO: overlay}}
  cache: {command: redis-server --save ""}
"""
CONFIGURED = f"""
services:
  app: {{image: "{AGENT}", environment: {{FROM: "$PLACE"}}, depends_on: [cache]}}
  cache: {{image: "redis:7", command: redis-server --save ""}}
"""
OVERRIDDEN = """
services:
  app: {build: ., depends_on: [cache]}
  cache: {image: "registry.example/absent:1", command: redis-server --save ""}
"""
READ_ONLY = f"""
services:
  app:
    image: {AGENT}
    volumes: ["./given:/given:ro", "./taken:/taken", "rows:/rows:ro"]
    tmpfs: /scratch
  writer: {{image: "redis:7", read_only: true, tmpfs: [/run], command: sh -c "touch /x || touch /rows/refused",
    volumes: ["rows:/rows"]}}
volumes: {{rows: }}
"""
COMMANDS = f"""
services:
  app:
    image: {AGENT}
    command: exit 1
    entrypoint: ["/bin/false"]
    restart: always
    healthcheck: {{test: "exit 1", interval: 1s}}
    depends_on: {{cache: {{condition: service_healthy}}}}
  cache:
    image: redis:7
    command: redis-server --save "" --requirepass "a b"
    healthcheck: {{test: redis-cli -a 'a b' PING | grep PONG, interval: 500ms, retries: 50}}
"""
NO_SECRETS = f"""
services:
  app:
    image: {AGENT}
    volumes: ["said:/said"]
    depends_on: {{look: {{condition: service_completed_successfully}}}}
  look:
    image: redis:7
    command: sh -c "env > /said/env; ls -A /run /opt > /said/places; cat /proc/self/status > /said/status"
    volumes: ["said:/said"]
volumes: {{said: }}
"""
# What the run without a service that has secrets is given itself.
GIVEN = {"token": "tok-of-the-run", "key": "key-of-the-run"}
OF_THE_RUN = {
    "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "given", "key": "token"}}}],
    "secretFiles": [{"name": "key", "secretKeyRef": {"name": "given", "key": "key"}}],
}

# What each agent runs, and what its answer has to contain.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "user-by-name": ("id -un; pwd; redis-cli -h cache PING", ("agent\n/tmp\nPONG",)),
    "secrets": (
        "cd /run/secrets; cat plain; tr a-z b-za <plain; tr a-z b-za <deep/key; stat -c %a plain deep/key; "
        "tr a-z b-za </said/it; touch /said/x || echo kept",
        (f"{MASK}\nqmbjo-ufyu\nlfz-ufyu\n444\n400\n440 999 999\nlfz-ufyu", "Read-only file system\nkept"),
    ),
    "profiles": ("redis-cli -h on PING; getent hosts off || echo is off", ("PONG\nis off",)),
    "overlays": ("echo $ONE $TWO; redis-cli -h cache PING", ("base overlay\nPONG",)),
    "inline": ("echo $FROM; redis-cli -h cache PING", ("here\nPONG",)),
    "config-map": ("echo $FROM; redis-cli -h cache PING", ("there\nPONG",)),
    "images": ("redis-cli -h cache PING", ("PONG",)),
    "read-only": (
        "cat /given/file; touch /given/x || echo given; touch /taken/x && echo taken; "
        "touch /scratch/x && echo scratch; ls /rows",
        ("file-text", "Read-only file system\ngiven\ntaken\nscratch\nrefused"),
    ),
    "commands": ("redis-cli -h cache -a 'a b' PING 2>&1 | grep PONG", ("PONG",)),
    "no-secrets": (
        "cat /said/*; cd /run/*/secret; printenv TOKEN | tr a-z b-za; tr a-z b-za <key; stat -c %a key; ls -A",
        ("NoNewPrivs:\t1", "\nupl-pg-uif-svo\nlfz-pg-uif-svo400\nkey"),
    ),
}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("compose-files", light=True)


def _environments(space: Runs, folder: Path) -> dict[str, dict[str, Any]]:
    space.kubectl(
        "-n", space.namespace, "create", "configmap", "stacks", f"--from-literal=stack.yaml={CONFIGURED}"
    )  # fmt: skip
    literals = [f"--from-literal={key}={value}" for key, value in GIVEN.items()]
    space.kubectl("-n", space.namespace, "create", "secret", "generic", "given", *literals)
    secrets = stacked.on_node(folder / "secrets", SECRETS)
    (folder / "secrets/plain.txt").write_text("plain-text\n")
    (folder / "secrets/key.txt").write_text("key-text\n")
    read_only = stacked.on_node(folder / "read-only", READ_ONLY)
    for name in ("given", "taken"):
        (folder / "read-only" / name).mkdir()
    (folder / "read-only/given/file").write_text("file-text\n")
    overlays = [stacked.on_node(folder / "overlays", BASE), stacked.on_node(folder / "overlays", OVERLAY, "over.yaml")]
    images = {"app": AGENT, "cache": "redis:7"}
    return {
        "user-by-name": {"inline": USER_BY_NAME},
        "secrets": secrets,
        "profiles": {"inline": PROFILES, "profiles": ["wanted"]},
        "overlays": {"paths": [each["path"] for each in overlays]},
        "inline": {"inline": CONFIGURED, "env": [{"name": "PLACE", "value": "here"}]},
        "config-map": {
            "configMapKeyRef": {"name": "stacks", "key": "stack.yaml"},
            "env": [{"name": "PLACE", "value": "there"}],
        },
        "images": stacked.on_node(folder / "images", OVERRIDDEN) | {"images": images},
        "read-only": read_only,
        "commands": {"inline": COMMANDS},
        "no-secrets": {"inline": NO_SECRETS},
    }


@pytest.fixture(scope="module")
def ended(space: Runs, folder: Path, podman_env: dict[str, str]) -> dict[str, Object]:
    """The runs of all cases, each with a stack of its own."""
    for name in ("workbench", "redis"):
        services.build(name, podman_env)
    environments = _environments(space, folder / "work" / "compose-files")
    specs = {name: stacked.spec(CASES[name][0], environment) for name, environment in environments.items()}
    specs["no-secrets"] |= OF_THE_RUN
    return space.run_all(specs, within=2 * stacked.WITHIN)


@pytest.mark.parametrize("name", CASES)
def test_the_agent_finds_what_its_file_says(ended: dict[str, Object], name: str) -> None:
    said = stacked.answer(ended[name])
    for expected in CASES[name][1]:
        assert expected in said


def test_services_get_nothing_of_the_run(ended: dict[str, Object]) -> None:
    said = stacked.answer(ended["no-secrets"])
    assert "PATH=" in said
    for word in ("ANTHROPIC", "stand-in-key", "STROMBOLI", "stromboli", "claude", "TOKEN", *GIVEN.values()):
        assert word not in said


def test_nothing_is_left_of_stacks_without_a_session(ended: dict[str, Object], host: Host) -> None:
    """But for the folder of the run, and, while that is there, the secrets that its output must not show."""

    def is_kept(part: str) -> bool:
        return "/sessions/" in part or "/given/" in part

    for run in ended.values():
        host.until(
            lambda uid=run["metadata"]["uid"]: all(map(is_kept, stacked.parts(host, uid))),  # type: ignore[misc]
            "only the folder of the run is left",
            within=90.0,  # what is in use for a moment longer is left to the next sweep
        )
