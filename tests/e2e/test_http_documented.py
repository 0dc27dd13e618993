"""The calls of Stromboli's documentation that run an agent, as it prints them, but for image and path.

Those about images are in test_http_images.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import http_api as http
from tests.support import services
from tests.support.http_api import HttpApi, Typed

TOOL = "ran = 'the tool is installed'\n"
COMPOSE = """# docker-compose.yml
services:
  dev:
    image: python:3.12
    working_dir: /workspace
    volumes:
      - .:/workspace
    depends_on:
      - db
  db:
    image: postgres:16
    environment:
      POSTGRES_PASSWORD: devpass
"""
ASK = "until psql -h db -U postgres -Atc 'SELECT 6 * 7' 2>/dev/null; do sleep 0.2; done"


@pytest.fixture(scope="module")
def typed(http_api: HttpApi, folder: Path) -> Typed:
    return http.shell(http_api, folder / "documented", http_api.namespace)


@pytest.fixture(scope="module")
def project(folder: Path) -> Path:
    """A folder of the node that the tests' policy allows, with a requirement that needs no network."""
    made = folder / "work" / "documented"
    made.mkdir(parents=True)
    wheel = "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made / wheel, "w") as archive:
        archive.writestr("tool.py", TOOL)
        archive.writestr("tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
        archive.writestr("tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tool-1.0.dist-info/RECORD", "")
    (made / "requirements.txt").write_text(f"./{wheel}\n")
    return made


def test_run_in_an_image(typed: Typed, python_image: str) -> None:
    answer = typed(
        """
        curl -X POST localhost:8080/run \\
          -d '{
            "prompt": "Run the tests",
            "podman": {"image": "python:3.12"}
          }'
        """.replace("python:3.12", python_image)
    )
    assert answer["status"] == "completed", answer


def test_run_with_a_volume_and_a_hook_that_installs_once_a_session(
    typed: Typed, http_api: HttpApi, project: Path, python_image: str
) -> None:
    script = """
        curl -X POST localhost:8080/run \\
          -d '{
            "prompt": "Run the test suite",
            "workdir": "/workspace",
            "podman": {
              "image": "python:3.12",
              "volumes": ["/home/user/myproject:/workspace"],
              "lifecycle": {
                "on_create_command": ["pip install -r requirements.txt"]
              }
            }
          }'
    """
    answer = typed(script.replace("python:3.12", python_image).replace("/home/user/myproject", str(project)))
    assert answer["status"] == "completed", answer
    steps = _run(http_api, answer["id"])["status"]["steps"]
    assert [(step["hook"], step["state"]) for step in steps] == [
        ("onCreateCommand", "Succeeded"),
        ("agent", "Succeeded"),
    ]
    again = {
        "prompt": "BASH{python3 -c 'import tool; print(tool.ran)'}",
        "claude": {"session_id": answer["session_id"], "resume": True, "dangerously_skip_permissions": True},
    }
    resumed = http_api.call("POST", "/run", again).body
    assert "the tool is installed" in resumed["output"]
    assert "onCreateCommand" not in [step["hook"] for step in _run(http_api, resumed["id"])["status"]["steps"]]


def test_run_in_a_compose_environment(
    typed: Typed, http_api: HttpApi, project: Path, podman_env: dict[str, str]
) -> None:
    services.build("postgres", podman_env)
    workbench = services.build("workbench", podman_env)
    (project / "docker-compose.yml").write_text(COMPOSE.replace("python:3.12", workbench))
    script = """
        curl -X POST localhost:8080/run \\
          -d '{
            "prompt": "Run the integration tests",
            "workdir": "/workspace",
            "podman": {
              "environment": {
                "type": "compose",
                "path": "/home/user/myproject/docker-compose.yml",
                "service": "dev"
              }
            }
          }'
    """
    answer = typed(script.replace("/home/user/myproject", str(project)))
    assert answer["status"] == "completed", answer
    again = {
        "prompt": f"BASH{{export PGPASSWORD=devpass; {ASK}}}",
        "claude": {"session_id": answer["session_id"], "resume": True, "dangerously_skip_permissions": True},
    }
    assert http_api.call("POST", "/run", again).body["output"].rstrip().endswith("42")


def _run(http_api: HttpApi, name: str) -> dict[str, Any]:
    text = http_api.kubectl("-n", http_api.namespace, "get", "agentruns.stromboli.dev", name, "-o", "json")
    found: dict[str, Any] = json.loads(text)
    return found
