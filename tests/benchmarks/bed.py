"""The test bed of the benchmarks: a control plane, a Podman, the stand-in and the operator, all real and isolated.

It uses the same classes as the end-to-end tests' fixtures. There are two namespaces, `real` and `instant`, each with a
policy of its own, so that both CLIs can be used at the same time. Everything is removed when the block ends.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.controlplane import binaries
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.plan.stack import names
from stromboli.progress import Progress
from tests.benchmarks.api import Api
from tests.benchmarks.baseline import Baseline
from tests.benchmarks.watch import Watch
from tests.support import images
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess, Standin, service_account_kubeconfig
from tests.support.podman import IsolatedPodman

ROOT = Path(__file__).parent.parent.parent
KEY = "stand-in-key-8d20"
CLIS = {"real": "cli", "instant": "instant-cli"}  # by namespace: the recipe in tests/support/images.py
UNTIL_QUIET = 30.0
SETTLE = 0.3  # for Podman's clean-up process of the last container, which cannot be waited for


def say(line: str) -> None:
    """Print progress to stderr; results go to stdout."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Bed:
    """Everything that is running, and how to reach it."""

    folder: Path
    runtime_dir: Path
    kubeconfig: Path
    programs: Binaries
    kubectl: Kubectl
    api: Api
    podman: IsolatedPodman
    standin: Standin
    cluster: Cluster
    image: str
    cli_images: dict[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        """The folder of the node that runs may mount, and that compose files may be in."""
        return self.folder / "work"

    @contextmanager
    def operator(self, trace: Path | None = None) -> Iterator[OperatorProcess]:
        """A ready operator with both CLIs mounted; with `trace`, the traced operator that writes spans there."""
        process = self.process(trace)
        with process:
            self._warm(process)
            yield process

    def namespace(self, name: str, cli: str) -> None:
        """Create another namespace, with the policy of that CLI."""
        _namespace(self.kubectl, name, cli)

    def process(self, trace: Path | None = None) -> OperatorProcess:
        """An operator process that is not started yet."""
        program = (sys.executable, "-m", "stromboli", "operator")
        if trace is not None:
            program = (sys.executable, "-m", "tests.benchmarks.traced_operator", str(trace))
        return OperatorProcess(
            home=self.home,
            runtime_dir=self.runtime_dir,
            kubeconfig=self.folder / "operator.kubeconfig",
            podman_socket=self.podman.socket,
            program=program,
        )

    def baseline(self, cli: str) -> Baseline:
        """`podman run` with one of the CLIs."""
        return Baseline(
            environ=self.podman.env,
            image=self.image,
            cli_image=self.cli_images[cli],
            env=agent_env(self.standin) | {"ANTHROPIC_API_KEY": KEY},
            gateway=self.standin.folder,
            busybox=busybox.path(self.home) if cli == "instant" else None,
        )

    def kubectl_apply(self, file: Path) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of `kubectl apply`; the caller starts and times it."""
        environ = {"PATH": os.defpath, "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)}
        return [str(self.programs.kubectl), "apply", "-f", str(file)], environ

    def pids(self) -> dict[str, int]:
        """PIDs by name of the control plane's parts and the Podman service."""
        parts = {part.name: part.pid for part in self.cluster.parts() if part.pid is not None}
        return {**parts, "podman service": self.podman.pid}

    def podman_api(self) -> httpx.Client:
        """A client of Podman's API; the caller closes it."""
        transport = httpx.HTTPTransport(uds=str(self.podman.socket), verify=False)
        return httpx.Client(transport=transport, base_url="http://podman/v4.0.0/libpod", trust_env=False)

    def quiet(self) -> None:
        """Wait until every run's container is removed, so that no clean-up overlaps with the next measurement.

        Containers kept by sessions are stopped then.
        """
        limit = time.monotonic() + UNTIL_QUIET
        with self.podman_api() as client:
            while time.monotonic() < limit:
                if all(map(_at_rest, client.get("containers/json?all=true").json() or [])):
                    time.sleep(SETTLE)
                    return
                time.sleep(0.05)
        raise TimeoutError(f"containers are still there after {UNTIL_QUIET:.0f} s")

    def _warm(self, process: OperatorProcess) -> None:
        """Make one run with each CLI, so that images are inspected, networks exist and caches are filled."""
        for cli in CLIS:
            with Watch(self.api, cli) as watch:
                name = f"warm-{process.pid}"
                self.api.create_run(cli, name, spec(self.image))
                watch.finished(name)
        self.quiet()


def _at_rest(container: dict[str, Any]) -> bool:
    """Whether it is a CLI holder, which is never started, a session's stopped container, or a part of its stack."""
    labels = container["Labels"] or {}
    if names.is_part(naming.Role(labels.get(naming.ROLE, ""))):
        return True
    return container["State"] == "created" or (naming.SHAPE in labels and container["State"] == "exited")


def spec(image: str) -> dict[str, Any]:
    """The spec of a simple run."""
    return {"prompt": prompt(), "image": image}


def prompt() -> str:
    return "ECHO{forty-two}"


def agent_env(standin: Standin) -> dict[str, str]:
    """Environment variables of every agent, with the operator and with `podman run`."""
    return {
        "ANTHROPIC_UNIX_SOCKET": str(standin.socket),
        "ANTHROPIC_BASE_URL": "http://gateway",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


@contextmanager
def made() -> Iterator[Bed]:
    """Start everything except the operator."""
    with ExitStack() as stack:
        folder = stack.enter_context(_temporary(None))
        (folder / "work").mkdir()
        runtime_dir = stack.enter_context(_temporary("/dev/shm"))
        say("control plane …")
        programs = binaries.find(binaries.cache_folder(os.environ), Progress(terminal=False), os.environ)
        cluster = Cluster(folder / "controlplane", programs)
        stack.callback(cluster.down)
        cluster.up()
        kubectl = Kubectl(programs.kubectl, cluster.kubeconfig)
        say("Podman and its images …")
        podman = stack.enter_context(IsolatedPodman())
        image = images.build("glibc", podman.env)
        cli_images = {cli: images.build(name, podman.env) for cli, name in CLIS.items()}
        standin = stack.enter_context(Standin(folder / "gateway"))
        _install(kubectl, standin, cli_images)
        service_account_kubeconfig(kubectl, cluster.kubeconfig, folder)
        api = stack.enter_context(Api(cluster.kubeconfig))
        yield Bed(
            folder=folder,
            runtime_dir=runtime_dir,
            kubeconfig=cluster.kubeconfig,
            programs=programs,
            kubectl=kubectl,
            api=api,
            podman=podman,
            standin=standin,
            cluster=cluster,
            image=image,
            cli_images=cli_images,
        )


def _install(kubectl: Kubectl, standin: Standin, cli_images: dict[str, str]) -> None:
    """Apply manifests/ without the Deployment, as an administrator does, and a policy for each CLI."""
    crds = str(ROOT / "crds")
    kubectl("apply", "--server-side", "-k", crds)
    kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
    kubectl("apply", "-f", str(ROOT / "manifests/namespace.yaml"), "-f", str(ROOT / "manifests/rbac.yaml"))
    kubectl(
        "-n", "stromboli-system", "create", "secret", "generic", "claude", f"--from-literal=ANTHROPIC_API_KEY={KEY}"
    )
    for cli, image in cli_images.items():
        _namespace(kubectl, cli, cli)
        kubectl("apply", "-f", "-", stdin=json.dumps(_policy(cli, image, standin)))


def _namespace(kubectl: Kubectl, name: str, cli: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"bench-cli": cli}}}
    kubectl("apply", "-f", "-", stdin=json.dumps(namespace))


def _policy(cli: str, cli_image: str, standin: Standin) -> dict[str, Any]:
    image, tag = cli_image.rsplit(":", 1)
    env = [{"name": k, "value": v} for k, v in agent_env(standin).items()]
    return {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": cli},
        "spec": {
            "namespaceSelector": {"matchLabels": {"bench-cli": cli}},
            "images": {"allowed": ["python:*", "postgres:*", "redis:*"]},
            "volumes": {"allowed": [{"path": str(standin.folder.parent / "work")}]},
            "cli": {"image": image, "tag": tag, "pull": "Never"},
            "network": "none",
            "env": env,
            "credentials": {"secretRef": {"name": "claude"}},
        },
    }


@contextmanager
def _temporary(parent: str | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="stromboli-bench-", dir=parent))
    path.chmod(0o755 if parent is None else 0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path)
