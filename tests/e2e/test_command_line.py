"""`stromboli run` and its like on real parts, for a developer of one namespace who has a client certificate."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.cli import exitcodes
from stromboli.controlplane import certificates
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from tests.support import people
from tests.support.cluster import Kubectl
from tests.support.runs import Runs, condition

pytestmark = pytest.mark.usefixtures("gateway")
SPACE = "command-line"
SECONDS = 60.0
PROGRAM = """#!/bin/sh
[ "${KUBERNETES_EXEC_INFO#*ExecCredential}" != "$KUBERNETES_EXEC_INFO" ] || exit 1
cat %s
"""


@dataclass(frozen=True)
class Person:
    """Runs commands with a kubeconfig, in a folder of the tests' own."""

    kubeconfig: Path
    path: str = os.defpath

    @property
    def environ(self) -> dict[str, str]:
        home = str(self.kubeconfig.parent)
        return {"PATH": self.path, "HOME": home, "STROMBOLI_HOME": f"{home}/none", "KUBECONFIG": str(self.kubeconfig)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stromboli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(stdin, timeout=SECONDS)
        finally:
            process.kill()
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def runs(spaces: Callable[..., Runs]) -> Runs:
    return spaces(SPACE, light=True)


@pytest.fixture(scope="module")
def dev(runs: Runs, cluster: Cluster, kubectl: Kubectl, folder: Path) -> Person:
    (folder / "dev").mkdir()
    found = people.certificate_user(cluster, folder / "dev/config", "dev", namespace=SPACE)
    kubectl("-n", SPACE, "create", "rolebinding", "dev", "--clusterrole=stromboli-user", "--user=dev")
    return Person(found)


def test_a_run_is_made_followed_and_run_again(dev: Person, runs: Runs, python_image: str) -> None:
    done = dev("run", python_image, "-", "--name", "first", "-o", "text", "--timeout", "1m", stdin="ECHO{hello}")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    again = dev("rerun", "first", "--follow")
    assert again.returncode == 0, again.stderr
    assert "Completed" in again.stderr
    listed = dev("get", "-o", "wide")
    head, first, second = listed.stdout.splitlines()
    assert head.split() == ["NAME", "SUCCEEDED", "REASON", "IMAGE", "AGE", "DURATION", *head.split()[6:]]
    assert first.split()[:3] == ["first", "True", "Completed"]
    assert second.startswith("first-")
    assert json.loads(dev("get", "first", "-o", "json").stdout)["metadata"] == runs.get("first")["metadata"]


def test_how_runs_end(dev: Person, python_image: str) -> None:
    codes = {
        ("run", python_image, "ECHO{sh:exit 3}"): exitcodes.FAILED,
        ("run", python_image, "x", "--timeout", "5"): exitcodes.REFUSED,
        ("run", python_image, "x", "-v", "/etc:/etc"): exitcodes.REFUSED,
        ("run", python_image, "ECHO{sh:sleep 60}", "--timeout", "1s"): exitcodes.TIMED_OUT,
        ("run", python_image, "x", "-n", "default"): exitcodes.REFUSED,
    }
    processes = {arguments: dev.start(*arguments) for arguments in codes}
    said = {arguments: process.communicate(timeout=SECONDS)[1] for arguments, process in processes.items()}
    assert {arguments: process.returncode for arguments, process in processes.items()} == codes, said
    assert "needs a unit" in said["run", python_image, "x", "--timeout", "5"]
    assert "ClusterRole stromboli-user" in said["run", python_image, "x", "-n", "default"]


def test_an_interrupt_cancels(dev: Person, python_image: str) -> None:
    with dev.start("run", python_image, "ECHO{sh:sleep 60}", "--name", "stopped", "-o", "json") as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith("stromboli: Running") for line in process.stderr), "it has ended"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == exitcodes.CANCELED, err
    ended = json.loads(out)
    assert (ended["spec"]["cancel"], condition(ended)["reason"]) == (True, "Canceled")
    assert dev("wait", "stopped").returncode == exitcodes.CANCELED


def test_one_that_is_held_back_waits(dev: Person, python_image: str) -> None:
    done = dev("run", python_image, "ECHO{late}", "--name", "held", "--suspend", "-d")
    assert done.stdout == "held\n", done.stderr
    assert dev("wait", "held", "--for", "condition=Succeeded=Unknown", "--timeout", "20s").returncode == 0
    assert dev("wait", "held", "--timeout", "1s").returncode == exitcodes.NOT_YET
    with dev.start("get", "held", "--watch") as watching:
        assert watching.stdout is not None
        head, first = watching.stdout.readline().split(), watching.stdout.readline().split()
        assert (head[0], first[:2]) == ("NAME", ["held", "Unknown"])
        assert dev("resume", "held").stdout == "agentrun/held goes on\n"
        assert any(line.split()[1:3] == ["True", "Completed"] for line in watching.stdout), "it shows the end"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(SECONDS) == exitcodes.DETACHED
    assert dev("wait", "held", "--timeout", "40s").returncode == 0
    assert dev("cancel", "held").stdout.startswith("agentrun/held has ended already: Completed")


def test_as_a_kubectl_plugin(dev: Person, programs: Binaries, tmp_path: Path) -> None:
    for name, function in (("kubectl-stromboli", "plugin"), ("kubectl_complete-stromboli", "complete")):
        script = tmp_path / name
        call = f"from stromboli.__main__ import {function}; {function}()"
        script.write_text(f"#!/bin/sh\nexec {sys.executable} -P -c '{call}' \"$@\"\n")
        script.chmod(0o755)
    environ = {**dev.environ, "PATH": f"{tmp_path}:{os.defpath}"}

    def kubectl(*arguments: str) -> str:
        command = [str(programs.kubectl), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout

    assert "agentrun.stromboli.dev/first" in kubectl("stromboli", "get", "-o", "name").split()
    assert kubectl("stromboli", "get", "--help").startswith("Usage: kubectl stromboli get")
    assert kubectl("__complete", "stromboli", "get", "fir").splitlines()[0] == "first"


def test_a_program_that_gives_a_certificate(dev: Person, cluster: Cluster, tmp_path: Path) -> None:
    """As exec plugins of clouds do; the certificate comes from nothing but the program."""
    certificate, key = people.client_certificate(
        cluster.kubeconfig.parent / "pki", certificates.CLIENT_AUTHORITY, "dev"
    )
    status = {"clientCertificateData": certificate.decode(), "clientKeyData": key.decode()}
    api = "client.authentication.k8s.io/v1"
    (tmp_path / "credential").write_text(json.dumps({"apiVersion": api, "kind": "ExecCredential", "status": status}))
    program = tmp_path / "login"
    program.write_text(PROGRAM % (tmp_path / "credential"))
    program.chmod(0o755)
    config: dict[str, Any] = yaml.safe_load(dev.kubeconfig.read_text())
    exec_ = {"apiVersion": api, "command": "./login", "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": exec_}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    listed = Person(tmp_path / "config")("get", "-o", "name")
    assert listed.returncode == 0, listed.stderr
    assert "agentrun.stromboli.dev/first" in listed.stdout.split()


def test_certificates_in_files_and_another_name_for_tls(dev: Person, tmp_path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(dev.kubeconfig.read_text())
    [cluster], [user] = config["clusters"], config["users"]
    for entry in (cluster["cluster"], user["user"]):
        for key in [key for key in entry if key.endswith("-data")]:
            (tmp_path / key).write_bytes(base64.b64decode(entry.pop(key)))
            entry[key.removesuffix("-data")] = key
    cluster["cluster"]["tls-server-name"] = "localhost"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    listed = Person(tmp_path / "config")("get", "first", "-o", "name")
    assert listed.stdout == "agentrun.stromboli.dev/first\n", listed.stderr
    cluster["cluster"]["tls-server-name"] = "elsewhere.test"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    refused = Person(tmp_path / "config")("get")
    assert refused.returncode == 1
    assert "elsewhere.test" in refused.stderr
