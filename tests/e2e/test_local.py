"""One machine, no cluster: `stromboli up` and all that goes with it, in a home of the test's own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stromboli.controlplane.binaries import ASSETS, Binaries
from stromboli.local import podman_config
from stromboli.local.home import Home, mounts_below
from tests.support import images
from tests.support.cluster import Kubectl
from tests.support.runs import Runs, condition, finished, reason_is
from tests.support.waiting import eventually

STROMBOLI = (sys.executable, "-m", "stromboli")
SECONDS = 120.0
PARTS = ("podman", "etcd", "kube-apiserver", "kube-controller-manager", "operator")
IMAGES = ("cli", "glibc")


@dataclass(frozen=True)
class Installation:
    """The command line on one home."""

    home: Home
    environ: Mapping[str, str]
    programs: Binaries

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STROMBOLI, *arguments], env=self.environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def __call__(self, *arguments: str) -> str:
        """What it prints on standard output. A command that fails is an AssertionError with what it said."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"stromboli {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def shell(self, script: str) -> str:
        """What a POSIX shell prints that has asked for the installation's environment."""
        ask = f'eval "$({shlex.join(STROMBOLI)} env)"'
        done = subprocess.run(
            ["sh", "-ec", f"{ask}\n{script}"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return done.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self("status", "-o", "json"))
        return found

    def pids(self) -> dict[str, int]:
        return {name: part["pid"] for name, part in self.status().items()}

    def runs(self) -> Runs:
        kubeconfig = Path(self("kubeconfig").strip())
        return Runs(Kubectl(self.programs.kubectl, kubeconfig), self.programs.kubectl, kubeconfig, "default")

    def podman(self, *arguments: str) -> str:
        """Podman on the home's storage, its service up or not."""
        environ = podman_config.env(self.home, self.environ)
        done = subprocess.run(
            ["podman", *arguments], env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    def asked(self, text: str) -> int:
        """How often the stand-in was sent a conversation that begins with such a prompt."""
        lines = (self.home.logs / "standin-requests.jsonl").read_text().splitlines()
        asked = [json.loads(line) for line in lines]
        return sum(1 for a in asked if text in str(a.get("user_texts")) and a.get("tool_result") is None)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="stromboli-local-"))
    yield path
    shutil.rmtree(path)


def _installation(root: Path, programs: Binaries) -> Installation:
    home = Home(root)
    ours = ("STROMBOLI_", "ANTHROPIC_", "CLAUDE_", "CONTAINER_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    image, tag = images.RECIPES["cli"].reference.rsplit(":", 1)
    environ |= {
        "STROMBOLI_HOME": str(root),
        # A service of its own also where the machine's Podman answers.
        "CONTAINER_HOST": f"unix://{home.podman_socket}",
        ASSETS: str(programs.folder),
        "STROMBOLI_AGENT_CLI_IMAGE": image,
        "STROMBOLI_AGENT_CLI_IMAGE_TAG": tag,
        "STROMBOLI_AGENT_IMAGE": images.RECIPES["glibc"].reference,
    }
    return Installation(home, environ, programs)


@pytest.fixture(scope="module")
def installation(folder: Path, programs: Binaries, podman_env: dict[str, str]) -> Iterator[Installation]:
    """It is up, and its Podman has the images; at the end it is removed, if a test has not done so."""
    made = _installation(folder / "home", programs)
    try:
        made("up")
        for name in IMAGES:
            made.shell(f"podman --remote load --quiet --input {shlex.quote(str(images.archive(name, podman_env)))}")
        yield made
    finally:
        made("down", "--purge")


@pytest.fixture(scope="module")
def demonstrated(installation: Installation) -> tuple[str, str]:
    """What `stromboli demo` printed, the first time and again."""
    return installation("demo"), installation("demo")


def test_status_shows_each_part_with_its_pid(installation: Installation) -> None:
    parts = installation.status()
    assert set(PARTS) <= set(parts)
    assert all(part["ready"] for part in parts.values()), parts
    for part in parts.values():
        os.kill(part["pid"], 0)
    table = installation("status").splitlines()
    assert table[0].split() == ["PART", "STATE", "PID", "WHERE"]
    assert {line.split()[0]: line.split()[2] for line in table[1:]} == {n: str(p["pid"]) for n, p in parts.items()}


def test_a_killed_operator_is_started_again(installation: Installation) -> None:
    before = installation.pids()
    os.kill(before["operator"], signal.SIGKILL)
    eventually(lambda: not installation.status()["operator"]["ready"], "the operator is seen down", installation.status)
    installation("up")
    after = installation.status()
    assert after["operator"]["ready"]
    assert after["operator"]["pid"] != before["operator"]
    assert {n: p["pid"] for n, p in after.items()} | {"operator": 0} == before | {"operator": 0}


def test_up_mends_whatever_is_down(installation: Installation) -> None:
    before = installation.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    installation("up")
    after = installation.status()
    assert all(part["ready"] for part in after.values()), after
    assert not set(before.values()) & set(installation.pids().values())
    assert installation.attempt("up").returncode == 0
    assert installation.pids() == {name: part["pid"] for name, part in after.items()}, "up is idempotent"


def test_a_shell_finds_cluster_and_podman(installation: Installation) -> None:
    said = installation.shell(
        "command -v kubectl; kubectl get crd -o name; podman --remote info --format '{{.Store.GraphRoot}}'"
    ).split()
    assert said == [
        str(installation.home.programs / "kubectl"),
        "customresourcedefinition.apiextensions.k8s.io/agentpolicies.stromboli.dev",
        "customresourcedefinition.apiextensions.k8s.io/agentruns.stromboli.dev",
        str(installation.home.podman / "storage"),
    ]
    assert installation.shell("echo $KUBECONFIG") == installation("kubeconfig")


def test_the_doctor_finds_nothing_missing(installation: Installation) -> None:
    assert all(check["ok"] for check in json.loads(installation("doctor", "-o", "json")) if check["required"])
    assert "MISSING" not in installation("doctor")


def test_secrets_are_their_owners_alone(installation: Installation, demonstrated: tuple[str, str]) -> None:
    home = installation.home
    assert home.root.stat().st_mode & 0o777 == 0o700
    tokens = [line.split(",")[0].encode() for line in (home.controlplane / "pki/tokens.csv").read_text().splitlines()]
    kept = [p for p in home.root.rglob("*") if p.is_file() and not p.is_relative_to(home.podman)]
    secret = [
        p for p in kept if any(s in p.read_bytes() for s in (b"PRIVATE KEY-----\n", b"offline-stand-in", *tokens))
    ]
    assert {"kubeconfig", "tokens.csv", "ca.key", "apiserver.key"} <= {p.name for p in secret}
    assert {str(p): oct(p.stat().st_mode) for p in secret if p.stat().st_mode & 0o077} == {}


def test_everything_listens_on_loopback_only(installation: Installation) -> None:
    listening = {name: _listening(pid) for name, pid in installation.pids().items()}
    assert listening["kube-apiserver"]
    assert listening["etcd"]
    addresses = {address for found in listening.values() for address in found}
    assert addresses <= {"0100007F", "00000000000000000000000001000000"}, listening


def _listening(pid: int) -> list[str]:
    """The addresses that a process's TCP sockets listen on, as proc(5)'s net/tcp has them."""
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links]


def test_the_demo_prints_an_answer_and_who_gave_it(demonstrated: tuple[str, str]) -> None:
    for said in demonstrated:
        answer = said.split("Answer:")[1].split("NOTE:")[0]
        assert "offline stand-in" in answer
        assert "Say hello in one short sentence." in answer
        assert "this answer is not Claude's" in said
        assert "Completed" in said.split("Conditions:")[1].split("How long it took:")[0]
        for stage in ("control plane", "the Claude CLI at work"):
            assert stage in said.split("How long it took:")[1]
        assert " env)" in said.split("Look around:")[1]
        assert "down --purge" in said.split("Stop it:")[1]


def test_a_run_goes_on_while_everything_is_down(installation: Installation, demonstrated: tuple[str, str]) -> None:
    runs = installation.runs()
    wait = "until [ -e /tmp/go ]; do sleep 0.1; done; echo went on"
    runs.apply("long", prompt=f"BASH{{{wait}}}", claude={"dangerouslySkipPermissions": True})
    running = runs.until("long", reason_is("Running"))
    container = running["status"]["attempts"][0]["container"]
    eventually(lambda: installation.asked(wait) == 1, "the prompt is sent", installation.status)
    before = installation.pids()
    said = installation("down")
    assert "1 run goes on" in said
    assert not [pid for pid in before.values() if _runs(pid)]
    assert installation.podman("inspect", "--format", "{{.State.Status}}", container) == "running"
    installation("up")
    kept = json.loads(runs.kubectl("get", "agentruns,agentpolicies", "-o", "json"))["items"]
    assert {o["metadata"]["name"] for o in kept} == {"hello", "long", "local"}
    installation.podman("exec", container, "touch", "/tmp/go")
    done = runs.until("long", finished)
    assert condition(done)["reason"] == "Completed"
    assert "went on" in done["status"]["result"]["text"]
    assert len(done["status"]["attempts"]) == 1
    assert installation.asked(wait) == 1


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_homes_side_by_side(installation: Installation, folder: Path, demonstrated: tuple[str, str]) -> None:
    first = installation.pids()
    other = _installation(folder / "other", installation.programs)
    try:
        other("up")
        second = other.pids()
        assert not set(first.values()) & set(second.values())
        assert other.runs().kubectl("get", "agentruns,agentpolicies", "-o", "name") == ""
        assert other.podman("images", "--quiet") == ""
    finally:
        other("down", "--purge")
    assert _traces(other.home) == {}
    assert installation.pids() == first
    assert all(part["ready"] for part in installation.status().values())


def test_purge_leaves_nothing(installation: Installation, demonstrated: tuple[str, str]) -> None:
    """Not even of a run that is at work."""
    runs = installation.runs()
    runs.apply("going", prompt="SLEEP{600}")
    runs.until("going", reason_is("Running"))
    assert set(_traces(installation.home)) == {"files", "mounts", "processes", "secrets"}
    installation("down", "--purge")
    assert _traces(installation.home) == {}
    assert "no installation" in installation("down")
    assert "stromboli up" in installation.attempt("kubeconfig").stderr


def _traces(home: Home) -> dict[str, object]:
    """What there is of an installation on the machine, by kind; without the kinds of which there is nothing."""
    found = {
        "files": [str(home.root)] if home.root.exists() else [],
        "secrets": [str(home.runtime)] if home.runtime.exists() else [],
        "mounts": mounts_below(home.root),
        "processes": [line for line in map(_command, Path("/proc").glob("[0-9]*")) if str(home.root) in line],
    }
    return {kind: what for kind, what in found.items() if what}


def _command(process: Path) -> str:
    """Command line and environment of a process; nothing for one that has ended, or is somebody else's."""
    try:
        texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return " ".join(text.replace(b"\0", b" ").decode(errors="replace") for text in texts)
