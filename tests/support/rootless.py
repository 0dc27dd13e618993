"""An ordinary user's Podman and operator, against the tests' cluster, in a namespace with a policy of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube import Client

from stromboli import naming
from tests.support import images, tun
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess, Standin
from tests.support.ordinary_user import OrdinaryUser, ordinary_user, program
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, make_namespace

KEY = "ordinary-key-77aa"


@dataclass(frozen=True)
class Cluster:
    """What the operator and the runs need of the tests' cluster."""

    kubeconfig: Path
    kubectl: Kubectl
    client: Client
    standin: Standin


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
        ours = ("--filter", f"label={naming.OWNER}")
        names = ("--format", "{{.Name}}")
        networks = self.podman.run("network", "ls", *names).split()
        return {
            "containers": self.podman.run("ps", "--all", "--format", "{{.Names}}", *ours).split(),
            "volumes": self.podman.run("volume", "ls", *names).split(),
            "networks": [name for name in networks if name != "podman"],
            "sessions": [p.name for p in self.operator.home.glob("sessions/*")],
            "secrets": [p.name for p in self.operator.runtime_dir.glob("secrets/*")],
        }


@contextmanager
def rootless(namespace: str, archives: Iterable[Path], cluster: Cluster, **policy: Any) -> Iterator[Bed]:
    """A bed with these images, one of which is the CLI's; `policy` is added to the namespace's policy."""
    with ordinary_user() as user, tun.usable(user.uid), IsolatedPodman(user=user) as podman:
        for archive in archives:
            with archive.open("rb") as saved:
                podman.run("load", "--quiet", stdin=saved)
        work = user.folder / "work"
        work.mkdir(mode=0o700)
        kubeconfig = Path(shutil.copy(cluster.kubeconfig, user.folder / "kubeconfig"))
        python, environ = program(user)
        user.owns(user.folder)
        make_namespace(cluster.client, namespace, own_policies=True)
        cluster.kubectl(
            "-n", namespace, "create", "secret", "generic", "claude", f"--from-literal=ANTHROPIC_API_KEY={KEY}"
        )
        runs = Runs(cluster.kubectl, cluster.client, namespace)
        name = runs.policy("policy", **(_policy(namespace, cluster.standin, work) | policy))
        with OperatorProcess(
            home=user.folder / "home",
            runtime_dir=user.runtime / "operator",
            kubeconfig=kubeconfig,
            podman_socket=podman.socket,
            environ={**user.environ, **environ},
            program=(python, "-m", "stromboli", "operator"),
            identity=user.identity,
        ) as operator:
            yield Bed(user, podman, operator, runs, work)
        cluster.kubectl("delete", "agentpolicy", name)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def folder(bed: Bed, name: str) -> Path:
    """A folder of the user's that runs may mount."""
    where = bed.work / name
    where.mkdir()
    os.chown(where, bed.user.uid, bed.user.gid)
    return where


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
