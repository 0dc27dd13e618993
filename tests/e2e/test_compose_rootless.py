"""Stacks of an ordinary user: a rootless Podman, and an operator without privileges."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client

from stromboli.plan.redaction import MASK
from tests.support import images, rootless, services
from tests.support.cluster import Kubectl
from tests.support.operator import Standin
from tests.support.rootless import Bed, Cluster
from tests.support.runs import Object, completed
from tests.support.sessions import session
from tests.support.waiting import eventually

WITHIN = 120.0  # seconds for a run that starts a stack
WORKBENCH = services.RECIPES["workbench"].reference
QUERY = "PGPASSWORD=devpass psql --host {host} --username postgres --no-psqlrc -At -c 'SELECT 6 * 7'"
NETWORKED = f"""
services:
  app:
    image: {WORKBENCH}
    working_dir: /workspace
    volumes: [".:/workspace"]
    secrets: [plain]
    depends_on: {{db: {{condition: service_healthy}}}}
  db:
    image: postgres:16
    environment: {{POSTGRES_PASSWORD: devpass}}
    volumes: ["rows:/var/lib/postgresql/data"]
    healthcheck: {{test: pg_isready --host 127.0.0.1, interval: 1s, retries: 60}}
  cache: {{image: "redis:7", ports: ["127.0.0.1:PORT:6379"]}}
secrets:
  plain: {{file: ./plain.txt}}
volumes: {{rows: }}
"""
JOINED = f"""
services:
  app: {{image: {WORKBENCH}, network_mode: "service:db"}}
  db: {{image: "postgres:16", network_mode: none, environment: {{POSTGRES_PASSWORD: devpass}}}}
"""
ALONE = f"""
services:
  app: {{image: {WORKBENCH}, network_mode: none}}
"""
BUILT = """
services:
  app: {build: ., network_mode: none, volumes: [".:/workspace"]}
"""


@pytest.fixture(scope="module")
def bed(
    podman_env: dict[str, str], operator_kubeconfig: Path, kubectl: Kubectl, client: Client, standin: Standin
) -> Iterator[Bed]:
    saved = [images.archive("cli", podman_env), *(services.archive(n, podman_env) for n in services.RECIPES)]
    cluster = Cluster(operator_kubeconfig, kubectl, client, standin)
    with rootless.rootless("compose-rootless", saved, cluster, compose={"allowBuild": True, "allowPorts": True}) as bed:
        yield bed


def environment(bed: Bed, name: str, text: str, **files: str) -> dict[str, Any]:
    """The environment of a run whose compose file and other files are in a folder of this name."""
    folder = rootless.folder(bed, name)
    for file, content in {"compose.yaml": text, **files}.items():
        (folder / file).write_text(content)
    bed.user.owns(folder)
    return {"type": "compose", "path": str(folder / "compose.yaml"), "service": "app"}


def run(bed: Bed, name: str, shell: str, stack: dict[str, Any], **more: Any) -> Object:
    prompt = {"prompt": f"BASH{{{shell}}}", "claude": {"dangerouslySkipPermissions": True}}
    return bed.runs.run(name, within=WITHIN, environment=stack, **prompt, **more)


def shown(bed: Bed, name: str, shell: str, stack: dict[str, Any], **more: Any) -> str:
    """The output of a shell command in a run that has to complete."""
    done = completed(run(bed, name, shell, stack, **more), bed.operator.last_words())
    return str(done["status"]["result"]["text"])


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in (folder, *folder.rglob("*"))}


def test_without_networks_services_meet_in_one_namespace(bed: Bed) -> None:
    stack = environment(bed, "joined", JOINED)
    assert shown(bed, "joined", QUERY.format(host="127.0.0.1"), stack).endswith(": 42")


def test_the_agent_in_its_service_is_given_the_secrets_of_the_run(bed: Bed) -> None:
    bed.runs.kubectl("-n", bed.runs.namespace, "create", "secret", "generic", "given", "--from-literal=key=whispers")
    reference = {"secretKeyRef": {"name": "given", "key": "key"}}
    given = {
        "env": [{"name": "TOKEN", "valueFrom": reference}],
        "secretFiles": [{"name": "key", **reference}],
    }
    stack = environment(bed, "given", ALONE)
    look = "cd /run/stromboli/secret; printenv TOKEN; (printenv TOKEN; cat key) | tr a-z b-za; stat -c ' %a %u' key"
    said = shown(bed, "given", f"{look}; id -u", stack, **given)
    assert said.endswith(f"{MASK}\nxijtqfst\nxijtqfst 400 0\n0")


def test_an_image_is_built_and_what_its_agent_writes_is_the_users(bed: Bed) -> None:
    stack = environment(bed, "built", BUILT, Dockerfile=f"FROM {WORKBENCH}\nRUN echo built here > /made\n")
    assert shown(bed, "built", "cat /made; touch /workspace/by-agent", stack).endswith("built here")
    assert owners(bed.work / "built") == {bed.user.uid}
    assert (bed.work / "built" / "by-agent").exists()


def test_a_stack_with_a_network_lives_over_two_runs_of_a_session(bed: Bed) -> None:
    """With a health check, a volume, a secret, a folder of the user's, and a published port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = NETWORKED.replace("PORT", str(port))
    stack = environment(bed, "networked", text, **{"plain.txt": "whispered"})
    create = f"{QUERY.format(host='db')} -c 'CREATE TABLE kept AS SELECT 11 AS n'"
    first = (
        "cat /run/secrets/plain; tr a-z b-za </run/secrets/plain; touch by-agent; redis-cli -h cache SET key stays; "
        + create
    )
    said = shown(bed, "first", first, stack, session={"name": "networked"})
    assert f"{MASK}xijtqfsfe" in said
    assert said.endswith("42\nSELECT 1")
    assert owners(bed.work / "networked") == {bed.user.uid}
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN) as client:
        client.sendall(b"GET key\r\n")
        assert client.recv(64) == b"$5\r\nstays\r\n"

    again = f"{QUERY.format(host='db')} -c 'TABLE kept'; redis-cli -h cache GET key"
    assert shown(bed, "second", again, stack, session={"name": "networked"}).endswith("42\n11\nstays")
    services = session(bed.runs, "networked")["status"]["services"]
    assert {one["name"]: (one["health"], one["ready"]) for one in services} == {
        "db": ("Healthy", True),
        "cache": ("None", True),
    }


def test_nothing_is_left_of_them(bed: Bed) -> None:
    bed.runs.kubectl("-n", bed.runs.namespace, "delete", "agentruns,agentsessions", "--all")
    eventually(lambda: not any(bed.left().values()), "nothing of any run is left", bed.left)
