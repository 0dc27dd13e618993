"""Every command in README and docs/ is run as printed, as by a user who has just cloned the project.

Here are those for a local installation, run by an unprivileged user in reading order, from `make demo` to
`down --purge`. Those for a cluster are run by test_manifests, those that need a registry by test_images_story, those
with services by test_examples.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stromboli.controlplane.binaries import Binaries
from tests.support import images
from tests.support.documents import DOCUMENTS, Block, blocks
from tests.support.newcomer import Newcomer, newcomer
from tests.support.runs import condition

READING = (
    "README.md",
    "users.md",
    "command-line.md",
    "watching.md",
    "endings.md",
    "http.md",
    "administrators.md",
    "troubleshooting.md",
    "upgrade-and-removal.md",
)
BY_NAME = {path.name: path for path in DOCUMENTS}
SHELL = 'eval "$(.venv/bin/stromboli env)"'
# A rejected key would be rejected again, and the CLI would retry for minutes.
AT_ONCE = """kubectl patch agentpolicy local --type=json --patch='[
{"op": "add", "path": "/spec/env/-", "value": {"name": "CLAUDE_CODE_MAX_RETRIES", "value": "0"}}]'"""
EXAMPLE = Path("/tmp/stromboli-example")


def local(name: str) -> list[Block]:
    return [block for block in blocks(BY_NAME[name]) if block.where == "local"]


def test_every_document_with_commands_is_typed() -> None:
    found = [block for path in DOCUMENTS for block in blocks(path)]
    assert {block.document for block in found} == {*READING, "compose.md"}
    assert {block.where for block in found} == {"local", "cluster", "registry", "compose"}


@pytest.fixture(scope="module")
def person(programs: Binaries, podman_env: dict[str, str]) -> Iterator[Newcomer]:
    archives = [images.archive(name, podman_env) for name in ("cli", "glibc")]
    with newcomer(programs, archives) as made, _own_volume(made) as still_there:
        yield made
        assert made.installation.traces() == {}
        assert still_there(), "a volume of the user's own Podman is gone"
    shutil.rmtree(EXAMPLE, ignore_errors=True)


@contextmanager
def _own_volume(person: Newcomer) -> Iterator[Callable[[], bool]]:
    """Create a volume in the user's own Podman. Yields a function that tells whether it still exists."""

    def podman(*arguments: str) -> int:
        command = ["podman", *arguments]
        done = subprocess.run(
            command, env=person.user.environ, capture_output=True, check=False, **person.user.identity
        )
        return done.returncode

    assert podman("volume", "create", "theirs") == 0
    yield lambda: podman("volume", "exists", "theirs") == 0
    podman("volume", "rm", "theirs")
    podman("system", "migrate")  # ends the process that keeps the user namespace alive


@pytest.fixture(scope="module")
def ten_minutes(person: Newcomer) -> str:
    """The output of README's commands, except for the last ones, which stop the installation."""
    *most, last = local("README.md")
    assert "down" in last.text
    return person.types(most)


def test_the_ten_minutes_of_the_readme(ten_minutes: str, person: Newcomer) -> None:
    assert "setup:" not in ten_minutes, "it installs what is there"
    assert "offline stand-in" in ten_minutes.split("Answer:")[1].split("Conditions:")[0]
    assert "condition met" in ten_minutes
    assert '"status":"completed"' in ten_minutes, "by HTTP"
    assert "event: done" in ten_minutes
    assert set(_ends(person)) >= {"hello", "structured", "hooks-1-install", "hooks-2-resume"}


def _ends(person: Newcomer) -> dict[str, str]:
    """The reasons of all runs so far, by name; each has to have succeeded, but for those that were canceled."""
    found = json.loads(person.installation.shell("kubectl get agentruns -o json"))["items"]
    ends = {run["metadata"]["name"]: condition(run) for run in found}
    canceled = {run["metadata"]["name"] for run in found if run["spec"].get("cancel") is True}
    assert {name: end["message"] for name, end in ends.items() if not _well(end["reason"], name in canceled)} == {}
    return {name: end["reason"] for name, end in ends.items()}


def _well(reason: str, canceled: bool) -> bool:
    return reason == "Completed" or (canceled and reason == "Canceled")


@pytest.mark.parametrize("name", READING[1:-1])
def test_the_guides(name: str, ten_minutes: str, person: Newcomer) -> None:
    said = person.types(local(name), before=SHELL)
    assert '"status":"error"' not in said, "a call of the HTTP API was refused"
    assert _ends(person)


def test_a_key_that_is_refused(ten_minutes: str, person: Newcomer, tmp_path: Path) -> None:
    """Also without /dev/net/tun: the run says what is wrong, and a logout restores the previous state."""
    with _refusing(tmp_path) as url, person.installation.runs() as runs:
        login = f"echo sk-ant-api03-wrong | stromboli login --base-url {url}"
        person.types([Block("login", 1, "local", f"{login}\n{AT_ONCE}")], SHELL)
        done = runs.run("refused", prompt="STATUS{401}")
        assert condition(done)["reason"] == "AgentFailed"
        assert "401" in condition(done)["message"]
    said = person.types([Block("logout", 1, "local", "stromboli up\nstromboli logout")], SHELL)
    assert "Claude answers, with an API key" in said, "it stays"
    assert "an offline stand-in answers, not Claude" in said


@contextmanager
def _refusing(folder: Path) -> Iterator[str]:
    """The stand-in on a port, made to reject requests by a directive in the prompt."""
    command = [sys.executable, "-m", "stromboli.standin", "--port", "0", "--log", str(folder / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_runs_go_on_after_a_stop(ten_minutes: str, person: Newcomer) -> None:
    installation = person.installation
    installation("down")
    assert [p for p in installation.traces()["processes"] if not p.startswith("catatonit ")] == []


def test_upgrade_and_removal(ten_minutes: str, person: Newcomer) -> None:
    person.types(local("upgrade-and-removal.md"), before=SHELL)
    assert person.installation.traces() == {}
    person.types(local("README.md")[-1:], before="PATH=$PWD/.venv/bin:$PATH")
