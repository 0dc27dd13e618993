"""As an unprivileged user: a rootless Podman, an unprivileged operator, and the owners of the files that runs write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client

from stromboli import naming
from tests.support import images
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess, Standin
from tests.support.ordinary_user import OrdinaryUser, ordinary_user, program
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, condition, finished, make_namespace, reason_is
from tests.support.waiting import eventually

# By the image's user: root, one with a passwd entry, and a number without one.
USERS = {"root": "glibc", "named": "nonroot", "numeric": "numeric-user"}
KEY = "ordinary-key-77aa"


@dataclass(frozen=True)
class Bed:
    """An unprivileged user's Podman, the operator that uses it, and the folder that runs may mount."""

    user: OrdinaryUser
    podman: IsolatedPodman
    operator: OperatorProcess
    runs: Runs
    work: Path

    def session(self, run: Object) -> Path:
        return self.operator.home / "sessions" / str(run["metadata"]["uid"])

    def left(self) -> dict[str, list[str]]:
        """What is left of any run on the node."""
        agents = ("--filter", f"label={naming.ROLE}={naming.AGENT}")
        return {
            "containers": self.podman.run("ps", "--all", "--format", "{{.Names}}", *agents).split(),
            "volumes": self.podman.run("volume", "ls", "--format", "{{.Name}}").split(),
            "sessions": [p.name for p in self.operator.home.glob("sessions/*")],
            "secrets": [p.name for p in self.operator.runtime_dir.glob("secrets/*")],
        }


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    with ordinary_user() as made:
        yield made


@pytest.fixture(scope="module")
def rootless(user: OrdinaryUser, podman_env: dict[str, str]) -> Iterator[IsolatedPodman]:
    with IsolatedPodman(user=user) as podman:
        for name in ("cli", *USERS.values()):
            with images.archive(name, podman_env).open("rb") as saved:
                podman.run("load", "--quiet", stdin=saved)
        yield podman


@pytest.fixture(scope="module")
def interpreter(user: OrdinaryUser) -> tuple[str, dict[str, str]]:
    """A Python that the user can run, and its environment variables."""
    return program(user)


@pytest.fixture(scope="module")
def operator(
    user: OrdinaryUser,
    interpreter: tuple[str, dict[str, str]],
    rootless: IsolatedPodman,
    operator_kubeconfig: Path,
    runs: Runs,
) -> Iterator[OperatorProcess]:
    kubeconfig = Path(shutil.copy(operator_kubeconfig, user.folder / "kubeconfig"))
    python, environ = interpreter
    user.owns(user.folder)
    with OperatorProcess(
        home=user.folder / "home",
        runtime_dir=user.runtime / "operator",
        kubeconfig=kubeconfig,
        podman_socket=rootless.socket,
        environ={**user.environ, **environ},
        program=(python, "-m", "stromboli", "operator"),
        identity=user.identity,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def work(user: OrdinaryUser) -> Path:
    folder = user.folder / "work"
    folder.mkdir()
    folder.chmod(0o700)
    os.chown(folder, user.uid, user.gid)
    return folder


@pytest.fixture(scope="module")
def runs(kubectl: Kubectl, client: Client, standin: Standin, work: Path) -> Iterator[Runs]:
    """A namespace with a policy of its own, and that policy's Secret."""
    namespace = "rootless"
    make_namespace(client, namespace, own_policies=True)
    kubectl("-n", namespace, "create", "secret", "generic", "claude", f"--from-literal=ANTHROPIC_API_KEY={KEY}")
    runs = Runs(kubectl, client, namespace)
    policy = runs.policy("policy", **_policy(namespace, standin, work))
    yield runs
    kubectl("delete", "agentpolicy", policy)
    kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def bed(user: OrdinaryUser, rootless: IsolatedPodman, operator: OperatorProcess, runs: Runs, work: Path) -> Bed:
    return Bed(user, rootless, operator, runs, work)


@pytest.fixture(scope="module")
def done(bed: Bed) -> dict[str, Object]:
    """One run in an image of each kind; it writes into a mounted folder and prints its identity."""
    return bed.runs.run_all({name: _writing(bed, name) for name in USERS})


def _policy(namespace: str, standin: Standin, work: Path) -> dict[str, Any]:
    image, tag = images.RECIPES["cli"].reference.rsplit(":", 1)
    return {
        "images": {"allowed": ["**"]},
        "cli": {"image": image, "tag": tag, "pull": "Never"},
        "network": "none",
        "env": [
            {"name": "ANTHROPIC_UNIX_SOCKET", "value": str(standin.socket)},
            {"name": "CLAUDE_CODE_MAX_RETRIES", "value": "0"},
        ],
        "credentials": {"secretRef": {"name": "claude", "namespace": namespace}},
        "volumes": {"allowed": [{"path": str(work)}]},
    }


def _writing(bed: Bed, name: str) -> dict[str, Any]:
    where = bed.work / name
    where.mkdir()
    os.chown(where, bed.user.uid, bed.user.gid)
    claude = {"dangerouslySkipPermissions": True} if name == "root" else {"allowedTools": ["Bash"]}
    return {
        "image": images.RECIPES[USERS[name]].reference,
        "prompt": f"BASH{{mkdir made && echo made-by-{name} > made/file && id -u}}",
        "workdir": "/workspace",
        "volumes": [f"{where}:/workspace"],
        "claude": claude,
        # Rootless Podman cannot limit memory on cgroups v1, and must not fail because of it.
        "resources": {"memory": "1Gi", "cpus": 1},
    }


@pytest.mark.parametrize(("name", "uid"), [("root", 0), ("named", images.NONROOT_UID), ("numeric", images.NUMERIC_UID)])
def test_a_run_succeeds_as_the_images_own_user(done: dict[str, Object], bed: Bed, name: str, uid: int) -> None:
    run = done[name]
    assert condition(run)["reason"] == "Completed", (condition(run), bed.operator.last_words())
    assert run["status"]["result"]["text"].strip().endswith(f": {uid}")


@pytest.mark.parametrize("name", USERS)
def test_what_it_writes_into_a_mounted_folder_is_the_users(done: dict[str, Object], bed: Bed, name: str) -> None:
    made = bed.work / name / "made"
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (made, made / "file")} == {(bed.user.uid, bed.user.gid)}
    assert (made / "file").read_text() == f"made-by-{name}\n"


@pytest.mark.parametrize("name", USERS)
def test_operator_and_agent_read_what_the_other_wrote(
    done: dict[str, Object], bed: Bed, standin: Standin, name: str
) -> None:
    folders = [bed.session(done[name]), *bed.session(done[name]).rglob("*")]
    assert {p.lstat().st_uid for p in folders} == {bed.user.uid}
    asked = [r for r in standin.requests() if f"made-by-{name}" in str(r["user_texts"])]
    assert asked, "the agent did not ask"
    assert all(r["credentials"] == ["x-api-key"] for r in asked), "the agent had no key"


def test_the_service_may_be_killed_meanwhile(bed: Bed) -> None:
    bed.runs.apply("killed", prompt="SLEEP{2} ECHO{still here}", image=images.RECIPES["nonroot"].reference)
    bed.runs.until("killed", reason_is("Running"))
    bed.podman.kill_service()
    bed.podman.start_service()
    run = bed.runs.until("killed", finished)
    assert (condition(run)["reason"], run["status"]["result"]["text"]) == ("Completed", "still here")


def test_nothing_stays_of_deleted_runs(done: dict[str, Object], bed: Bed) -> None:
    """Not even files that an agent has given to a user that exists only in its container."""
    giving = "mkdir -p out/deep/er; echo > out/deep/er/file; chmod -R 700 out/deep; chown -R 1234:1234 out/deep secret"
    run = bed.runs.run(
        "giver",
        prompt=f"BASH{{cd /run/stromboli; {giving}; id -u}}",
        image=images.RECIPES["glibc"].reference,
        claude={"dangerouslySkipPermissions": True},
    )
    assert condition(run)["reason"] == "Completed", (condition(run), bed.operator.last_words())
    given = bed.session(run).rglob("out/deep")
    assert [p.stat().st_uid == bed.user.uid for p in given] == [False], "nothing was given away"
    bed.runs.kubectl("-n", bed.runs.namespace, "delete", "agentruns", "--all")
    eventually(lambda: not any(bed.left().values()), "nothing of any run is left", bed.left)
