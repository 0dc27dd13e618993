"""A machine without a cluster: `stromboli up` and the related commands, in a home of the tests' own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from stromboli.controlplane.binaries import Binaries
from tests.support import images, stores
from tests.support.installation import Installation, installed_in
from tests.support.runs import Runs, completed, condition, finished, reason_is
from tests.support.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
_JOBS = r"GET /jobs HTTP/1.0\r\nHost: localhost\r\n\r\n"
_NOBODY = 65534
PARTS = ("podman", "etcd", "kube-apiserver", "kube-controller-manager", "gateway", "operator")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="stromboli-local-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def installation(folder: Path, programs: Binaries, podman_env: dict[str, str]) -> Iterator[Installation]:
    """A running installation whose Podman has the images; removed at the end, unless a test has done so."""
    made = installed_in(folder / "home", programs)
    try:
        if not made.begin():
            made.load(*(images.archive(name, podman_env) for name in stores.LARGE))
        made("up")
        yield made
    finally:
        made("down", "--purge")


@pytest.fixture(scope="module")
def demonstrated(installation: Installation) -> tuple[str, str]:
    """The output of `stromboli demo`, run twice."""
    return installation("demo"), installation("demo")


@pytest.fixture
def runs(installation: Installation, demonstrated: tuple[str, str]) -> Iterator[Runs]:
    with installation.runs() as runs:
        yield runs


def test_status_shows_each_part_with_its_pid(installation: Installation) -> None:
    parts = installation.status()
    assert set(PARTS) <= set(parts)
    assert all(part["ready"] for part in parts.values()), parts
    for part in parts.values():
        os.kill(part["pid"], 0)
    table = installation("status").splitlines()
    assert table[0].split() == ["PART", "STATE", "PID", "WHERE"]
    rows, reached = table[1 : len(parts) + 1], table[len(parts) + 1 :]
    assert {line.split()[0]: line.split()[2] for line in rows} == {n: str(p["pid"]) for n, p in parts.items()}
    assert reached[0] == f"HTTP API: {parts['gateway']['url']}"
    assert reached[1:] == [f"metrics: {p['metrics']} ({n})" for n, p in parts.items() if "metrics" in p]
    assert len(reached) == 3


def test_the_http_api_is_where_up_says(installation: Installation) -> None:
    """Not at the usual port here: tests run side by side."""
    [url] = re.findall(r"^STROMBOLI_URL=(http://127\.0\.0\.1:\d+)$", installation("up"), re.MULTILINE)
    assert url == installation.status()["gateway"]["url"] == installation.shell("echo $STROMBOLI_URL").strip()
    said = httpx2.get(f"{url}/health", trust_env=False)
    assert (said.status_code, said.json()["status"]) == (200, "ok")
    assert f"HTTP API: {url}" in installation("doctor")
    with socket.create_server(("127.0.0.1", 0)) as other:
        installed = installation.environ
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        there = replace(installation, environ={**installed, "STROMBOLI_SERVER_ADDRESS": taken}).attempt("up")
    assert (there.returncode, f"another process has {taken}" in there.stderr) == (1, True)
    installation("up")
    assert installation.status()["gateway"]["url"] == url


def test_a_killed_operator_is_started_again(installation: Installation) -> None:
    before = installation.pids()
    os.kill(before["operator"], signal.SIGKILL)
    eventually(lambda: not installation.status()["operator"]["ready"], "the operator is seen down", installation.status)
    assert installation.attempt("status").returncode == 1
    installation("up")
    after = installation.status()
    assert after["operator"]["ready"]
    assert after["operator"]["pid"] != before["operator"]
    assert {n: p["pid"] for n, p in after.items()} | {"operator": 0} == before | {"operator": 0}


def test_up_repairs_whatever_is_down(installation: Installation) -> None:
    before = installation.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    installation("up")
    after = installation.status()
    assert all(part["ready"] for part in after.values()), after
    assert not set(before.values()) & set(installation.pids().values())
    assert installation.attempt("up").returncode == 0
    assert installation.pids() == {name: part["pid"] for name, part in after.items()}, "up is idempotent"


def test_a_namespace_is_deleted_while_the_operator_is_down(installation: Installation) -> None:
    before = installation.pids()
    os.kill(before["operator"], signal.SIGKILL)
    eventually(lambda: not installation.status()["operator"]["ready"], "the operator is seen down", installation.status)
    installation.shell("kubectl create namespace passing; kubectl delete namespace passing --timeout=60s")
    installation("up")
    assert installation.pids()["gateway"] == before["gateway"]


def test_a_namespace_waits_for_a_gateway_that_is_started_again(installation: Installation) -> None:
    before = installation.pids()
    listening = installation.home.gateway_port.read_text()
    os.kill(before["gateway"], signal.SIGKILL)
    eventually(lambda: not installation.status()["gateway"]["ready"], "the gateway is seen down", installation.status)
    problem = json.loads(installation.attempt("doctor", "-o", "json").stdout)[-1]
    assert (problem["name"], problem["ok"], problem["found"]) == ("gateway", False, "it is not running")
    installation.shell("kubectl create namespace waiting; kubectl delete namespace waiting --wait=false")
    installation("up")
    assert installation.status()["gateway"]["ready"]
    assert installation.home.gateway_port.read_text() == listening
    installation.shell("kubectl wait --for=delete namespace/waiting --timeout=90s")


def test_what_is_behind_the_gateway_is_found_as_any_other_resource(installation: Installation) -> None:
    names = installation.shell("kubectl api-resources --api-group=agents.stromboli.dev -o name").split()
    assert "images.agents.stromboli.dev" in names


def test_a_shell_finds_cluster_and_podman(installation: Installation) -> None:
    said = installation.shell(
        "command -v kubectl; kubectl get crd -o name; podman --remote info --format '{{.Store.GraphRoot}}'"
    ).split()
    assert said == [
        str(installation.home.bin / "kubectl"),
        "customresourcedefinition.apiextensions.k8s.io/agentimages.stromboli.dev",
        "customresourcedefinition.apiextensions.k8s.io/agentpolicies.stromboli.dev",
        "customresourcedefinition.apiextensions.k8s.io/agentruns.stromboli.dev",
        "customresourcedefinition.apiextensions.k8s.io/agentsessions.stromboli.dev",
        str(installation.home.podman / "storage"),
    ]
    assert installation.shell("echo $KUBECONFIG") == installation("kubeconfig")
    assert installation.shell("stromboli --version; stromboli status").startswith("stromboli ")


def test_the_doctor_finds_nothing_missing(installation: Installation) -> None:
    assert all(check["ok"] for check in json.loads(installation("doctor", "-o", "json")) if check["required"])
    assert "MISSING" not in installation("doctor")


def test_secrets_are_their_owners_alone(installation: Installation, demonstrated: tuple[str, str]) -> None:
    home = installation.home
    assert home.root.stat().st_mode & 0o777 == 0o700
    tokens = [line.split(",")[0].encode() for line in (home.controlplane / "pki/tokens.csv").read_text().splitlines()]
    # Podman's own folder is not even walked: its layers come and go.
    tops = [p for p in home.root.iterdir() if p != home.podman]
    kept = [p for top in tops for p in (top, *top.rglob("*")) if p.is_file()]
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
    """The addresses of a process's listening TCP sockets, in the format of /proc/net/tcp (proc(5))."""
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
        for stage in ("control plane", "Claude CLI running"):
            assert stage in said.split("How long it took:")[1]
        assert " env)" in said.split("Look around:")[1]
        assert "stromboli logs hello" in said.split("Look around:")[1]
        assert "down --purge" in said.split("Stop it:")[1]


def test_the_demos_run_can_be_watched(installation: Installation, demonstrated: tuple[str, str]) -> None:
    """As the demo says: in a shell of the installation, without another word about where it is."""
    assert "offline stand-in" in installation.shell("stromboli logs hello")


def test_a_call_without_a_token_is_this_users(installation: Installation, runs: Runs) -> None:
    """As the documentation of Stromboli prints it: `curl -d` says that it sends a form."""
    url = installation.status()["gateway"]["url"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = httpx2.post(
        f"{url}/run", content=b'{"prompt": "ECHO{by HTTP}"}', headers=form, trust_env=False, timeout=120
    )
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["status"], said["output"]) == ("completed", "by HTTP"), said
    run = json.loads(runs.kubectl("get", "agentrun", said["id"], "-o", "json"))
    completed(run)
    for header, status in (("Origin", 403), ("X-Forwarded-For", 401)):
        strange = httpx2.get(f"{url}/jobs", headers={header: "http://evil.example"}, trust_env=False)
        assert strange.status_code == status, "a web page is not this user, nor is who calls by a proxy"
    ask = f"exec 3<>/dev/tcp/{url.removeprefix('http://').replace(':', '/')}; printf '{_JOBS}' >&3; head -n 1 <&3"
    for user, status in ((os.getuid(), 200), (_NOBODY, 401)):
        told = subprocess.run(
            ["bash", "-c", ask], user=user, cwd="/", capture_output=True, text=True, timeout=60, check=True
        )
        assert told.stdout.split()[1] == str(status), f"{told.stdout} for the user {user}"
    runs.kubectl("delete", "agentrun", said["id"])
    runs.kubectl("delete", "agentsession", said["session_id"])


def test_a_run_goes_on_while_everything_is_down(installation: Installation, runs: Runs) -> None:
    wait = "until [ -e /tmp/go ]; do sleep 0.1; done; echo went on"
    runs.apply("long", prompt=f"BASH{{{wait}}}", claude={"dangerouslySkipPermissions": True})
    running = runs.until("long", reason_is("Running"))
    container = running["status"]["attempts"][0]["container"]
    eventually(lambda: installation.asked(wait) == 1, "the prompt is sent", installation.status)
    before = installation.pids()
    said = installation("down")
    assert "1 run continues" in said
    assert not [pid for pid in before.values() if _runs(pid)]
    assert installation.podman("inspect", "--format", "{{.State.Status}}", container) == "running"
    installation("up")
    kept = json.loads(runs.kubectl("get", "agentruns,agentpolicies", "-o", "json"))["items"]
    assert {o["metadata"]["name"] for o in kept} == {"hello", "long", "local"}
    installation.podman("exec", container, "touch", "/tmp/go")
    done = runs.until("long", finished)
    completed(done)
    assert "went on" in done["status"]["result"]["text"]
    assert len(done["status"]["attempts"]) == 1
    assert installation.asked(wait) == 1


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_conversation_of_a_session_is_printed(installation: Installation, runs: Runs) -> None:
    for name in ("one", "two"):
        done = runs.run(f"said-{name}", prompt=f"ECHO{{{name}}}", session={"name": "talk"})
        assert condition(done)["reason"] == "Completed", condition(done)["message"]
    told = json.loads(installation("messages", "talk", "-o", "json"))
    said = [(m["role"], m["text"]) for m in told["messages"]]
    assert said == [("user", "ECHO{one}"), ("assistant", "one"), ("user", "ECHO{two}"), ("assistant", "two")]
    assert "ECHO{two}" in installation("messages", "talk")
    missing = installation.attempt("messages", "nobodys")
    assert (missing.returncode, "has no AgentSession nobodys" in missing.stderr) == (1, True)
    runs.kubectl("delete", "agentsession", "talk")


def test_two_homes_side_by_side(
    installation: Installation, folder: Path, demonstrated: tuple[str, str], podman_env: dict[str, str]
) -> None:
    first = installation.pids()
    small = {"STROMBOLI_AGENT_CLI_IMAGE_TAG": "instant", "STROMBOLI_AGENT_IMAGE": images.RECIPES["nonroot"].reference}
    other = installed_in(folder / "other", installation.programs, environ=small)
    try:
        other.load(*(images.archive(name, podman_env) for name in ("instant-cli", "nonroot")))
        other("up")
        second = other.pids()
        assert not set(first.values()) & set(second.values())
        with other.runs() as runs:
            completed(runs.run("first", prompt="hello"), "of a fresh installation")
            assert runs.kubectl("get", "agentruns", "-o", "name").split() == ["agentrun.stromboli.dev/first"]
        assert "agent:real" not in other.podman("images")
    finally:
        other("down", "--purge")
    assert other.traces() == {}
    assert installation.pids() == first
    assert all(part["ready"] for part in installation.status().values())


def test_what_was_set_stays_until_told_otherwise(
    installation: Installation, runs: Runs, demonstrated: tuple[str, str]
) -> None:
    """A login, and the user's changes to the installation's policy."""
    runs.kubectl("patch", "agentpolicy", "local", "--type=merge", '-p={"spec":{"limits":{"maxTurns":7}}}')
    file = installation.home.root.parent / "login.json"
    file.write_text(json.dumps({"claudeAiOauth": {"accessToken": "secret-of-a-login"}}))
    try:
        assert "Claude answers" in installation("login", "--file", str(file))
        assert "standin" not in installation.status()
        assert "Claude answers, with a login of the Claude CLI" in installation.attempt("up").stderr
        kept = json.loads(runs.kubectl("-n", "stromboli-system", "get", "secret", "claude", "-o", "json"))
        assert list(kept["data"]) == [".credentials.json"]
        policy = json.loads(runs.kubectl("get", "agentpolicy", "local", "-o", "json"))["spec"]
        assert (policy["network"], policy["env"], policy["limits"]["maxTurns"]) == ("bridge", [], 7)
    finally:
        installation("logout")
    assert installation.status()["standin"]["ready"]
    completed(runs.run("offline-again", prompt="hello"))


def test_the_policy_for_clusters_narrows_the_local_one(
    installation: Installation, runs: Runs, demonstrated: tuple[str, str]
) -> None:
    """The two do not contradict each other: what it allows still runs."""
    runs.kubectl("apply", "-f", str(ROOT / "manifests/policy.yaml"))
    done = runs.run("both", prompt="hello", image=images.RECIPES["glibc"].reference)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    refused = runs.run("refused", prompt="hello", image="redis:7")
    assert "AgentPolicy default" in condition(refused)["message"]
    runs.kubectl("delete", "agentpolicy", "default")


def test_purge_leaves_nothing(installation: Installation, runs: Runs) -> None:
    """Even with a run in progress."""
    runs.apply("going", prompt="SLEEP{600}")
    runs.until("going", reason_is("Running"))
    assert set(installation.traces()) == {"files", "mounts", "processes", "secrets"}
    assert "kept " in installation("down", "--purge"), "what stays is said"
    assert installation.traces() == {}
    assert "no installation" in installation("down")
    assert "stromboli up" in installation.attempt("kubeconfig").stderr
