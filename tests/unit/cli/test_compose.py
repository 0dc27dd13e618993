"""`stromboli compose check`: what a file means, or what is wrong with it, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stromboli import __main__ as program
from stromboli.cli import exitcodes

STACK = """\
services:
  dev:
    image: ${BASE:-python}:3.12
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:16
    healthcheck: {test: pg_isready}
    environment: {at: noon, keys: "2"}
    ports: ["5432:5432"]
  tool: {image: busybox, profiles: [tools]}
"""
POLICY = """\
apiVersion: stromboli.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: team}}
spec:
  images: {{allowed: ["python:*", "postgres:*"]}}
  volumes: {{allowed: [{{path: {folder}}}]}}
  compose: {{allowPorts: true}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "compose.yaml"
    path.write_text(STACK)
    return str(path)


def run(*arguments: str) -> int:
    return program.run(["compose", "check", *arguments])


def test_a_table(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "--service", "dev", "--env", "BASE=pypy") == 0
    said = capsys.readouterr()
    rows = [line.split("  ")[0] for line in said.out.splitlines()]
    assert rows == ["SERVICE", "dev (the agent's)", "db"]
    assert "docker.io/library/pypy:3.12" in said.out
    assert "db (service_healthy)" in said.out
    assert said.out.splitlines()[2].endswith("healthy")
    assert "note: not published: services.db.ports[0]" in said.err


def test_json_has_the_typed_stack_and_what_has_no_effect(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "-s", "dev", "--profile", "tools", "--image", "db=postgres:17", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agent"] == "dev"
    assert [*told["services"]] == ["dev", "db", "tool"]
    assert told["services"]["db"]["image"] == "docker.io/library/postgres:17"
    assert told["services"]["db"]["healthcheck"]["test"] == ["CMD-SHELL", "pg_isready"]
    assert told["services"]["db"]["environment"] == {"at": "noon", "keys": "2"}
    assert told["notices"]


def test_several_files_are_merged(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.yaml").write_text("services: {db: {image: 'postgres:17'}}")
    assert run(file, str(tmp_path / "more.yaml"), "-s", "dev") == 0
    assert "docker.io/library/postgres:17" in capsys.readouterr().out


def test_policies(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(folder=tmp_path))
    assert run(file, "-s", "dev", "--policy", str(policy)) == 0
    assert capsys.readouterr().err == ""
    assert run(file, "-s", "dev", "--profile", "tools", "--policy", str(policy)) == exitcodes.NOT_ALLOWED
    assert "services.tool.image: the image docker.io/library/busybox:latest is not allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 1, "spec.environment.service: the file has several services; name the one in which the agent runs: dev"),
        (("-s", "tool"), 1, "tool is off: turn on one of its profiles"),
        (("-s", "dev", "--image", "nope=x"), 1, "spec.environment.images.nope: the file has no service nope"),
        (("-s", "dev", "--env", "BASE"), 2, "'BASE' is not NAME=VALUE"),
        (("-s", "dev", "--policy", "/nowhere.yaml"), 1, "/nowhere.yaml: No such file"),
    ],
)
def test_what_is_wrong(
    file: str, arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, *arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("services: {a: {image: x, privileged: On}}", exitcodes.NOT_ALLOWED, "compose.yaml:1: services.a.privileged"),
        ("services: {a: {image: x, wat: 1}}", 1, "compose.yaml:1: services.a.wat"),
        ("services: {a: {image: x, volumes: ['/etc:/e']}}", exitcodes.NOT_ALLOWED, "services.a.volumes[0].source"),
        ("services: {a: {image: x", 1, "line 1"),
    ],
)
def test_a_file_is_refused_by_its_key(
    tmp_path: Path, text: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    assert run(str(file)) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["kind: Pod", "{", "- 1", "kind: List", "{kind: List, items: [{kind: Pod}]}"])
def test_a_policy_that_is_none(file: str, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    assert run(file, "-s", "dev", "--policy", str(policy)) == 2
    assert "policy.yaml" in capsys.readouterr().err


def test_policies_as_kubectl_prints_them(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policies.yaml"
    items = [yaml.safe_load(POLICY.format(folder=tmp_path)), {"kind": "AgentPolicy", "spec": {"network": "none"}}]
    policy.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    assert run(file, "-s", "dev", "--policy", str(policy)) == 0
    items[0]["spec"]["volumes"] = {"allowed": []}
    policy.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    assert run(file, "-s", "dev", "--policy", str(policy)) == exitcodes.NOT_ALLOWED
    assert "AgentPolicy team" in capsys.readouterr().err


def test_what_a_service_waits_for_and_when_it_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compose.yaml"
    waits = "depends_on: {job: {condition: service_completed_successfully}}"
    path.write_text(
        f"services: {{a: {{image: x, network_mode: 'service:db', {waits}}}, job: {{image: y}}, db: {{image: z}}}}"
    )
    assert run(str(path), "-s", "a") == 0
    [_, agent, job, _] = capsys.readouterr().out.splitlines()
    assert "job (service_completed_successfully), db (service_started)" in agent
    assert job.endswith("it has ended with exit code 0")


def test_without_a_policy_the_option_for_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / ".devcontainer"
    folder.mkdir()
    (folder / "compose.yaml").write_text("services: {a: {image: x, volumes: ['..:/workspaces']}}")
    assert run(str(folder / "compose.yaml")) == exitcodes.NOT_ALLOWED
    assert "--policy" in capsys.readouterr().err


def test_what_has_another_image_is_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {dev: {build: .}}")
    assert run(str(path)) == exitcodes.NOT_ALLOWED
    assert "services.dev.build: images are not built here" in capsys.readouterr().err
    assert run(str(path), "--image", "dev=python:3.12") == 0
    assert "docker.io/library/python:3.12" in capsys.readouterr().out
